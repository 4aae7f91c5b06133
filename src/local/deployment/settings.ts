import { z } from 'zod'
import { ratedFaults } from './faults.ts'

const rate = z.number().min(0).max(1)
const ms = z.number().min(0).max(3_600_000)

const nameSchema = z.string().regex(/^[\w.-]{1,64}$/)

const settingsSchema = z.strictObject({
  /** The name of the deployment, as in the path. */
  deployment: nameSchema,
  /** The real name of the model; decides which sizes and qualities exist. */
  model: z.string().min(1),
  rpm: z.number().positive(),
  /**
   * Further deployments of the same resource, on the deployments path only. What one leaves out is as in the first.
   * Those of one `quota` are judged together; whoever names none has one of its own name, as the first always has.
   */
  others: z
    .array(
      z.strictObject({
        deployment: nameSchema,
        model: z.string().min(1).optional(),
        rpm: z.number().positive().optional(),
        quota: nameSchema.optional(),
      }),
    )
    .max(50)
    .refine(
      (others) => new Set(others.map(({ deployment }) => deployment)).size === others.length,
      'two of one name',
    ),
  /** The windows over which the rate is judged; see windows.ts. */
  windowsMs: z.array(z.number().int().min(100).max(3_600_000)).min(1).max(5),
  countRejected: z.boolean(),
  apiKey: z.string().min(1),
  /** Accepted on the deployments path. The v1 path takes none, `v1` and `preview`. */
  apiVersions: z.array(z.string().min(1)).min(1),
  /** How long the model works on a request: evenly spread from min to max. */
  latencyMs: z.strictObject({ min: ms, max: ms }).refine(({ min, max }) => min <= max, 'min is above max'),
  /** `drawn` is a picture of the prompt; `plain` is one colour and costs next to nothing. */
  pictures: z.enum(['drawn', 'plain']),
  /** Equal seeds give equal pictures, and equal faults and latencies to the same prompts. */
  seed: z.number().int(),
  faults: z
    .partialRecord(z.enum(ratedFaults.map(([name]) => name)), rate)
    .refine(
      (rates) => Object.values(rates).reduce((sum, one) => sum + one, 0) <= 1.000_001,
      'rates sum up above 1',
    ),
  /** Where a 429 says how long to wait. Azure was seen to say it in the text only; `headers` adds what its docs list. */
  retryAfter: z.enum(['body', 'headers']),
  /** How many requests are worked on at once before the answer is "experiencing high demand"; null is no end. */
  capacity: z.number().int().min(0).nullable(),
  capacityRetryAfterSeconds: z.number().int().min(1).max(86_400),
  /** The whole resource is blocked for bad prompts: 403 to all. */
  blocked: z.boolean(),
  /** The model is retired: 404 DeploymentNotFound to all. */
  retired: z.boolean(),
  /** The key was changed behind the caller's back: 401 to every key. */
  wrongKey: z.boolean(),
})

export type DeploymentSettings = Readonly<z.output<typeof settingsSchema>>

export const defaultSettings: DeploymentSettings = {
  deployment: 'gpt-image-1',
  model: 'gpt-image-1',
  rpm: 60,
  others: [],
  windowsMs: [10_000, 60_000],
  countRejected: true,
  apiKey: 'simulated-deployment-key',
  apiVersions: ['2025-04-01-preview'],
  latencyMs: { min: 1_000, max: 3_000 },
  pictures: 'drawn',
  seed: 1,
  faults: {},
  retryAfter: 'body',
  capacity: null,
  capacityRetryAfterSeconds: 5,
  blocked: false,
  retired: false,
  wrongKey: false,
}

/** The settings as they hold for one deployment, and the quota by which its requests are counted. */
export type Addressed = DeploymentSettings & { readonly quota: string }

/** Undefined where no deployment has the name. */
export function settingsOf(settings: DeploymentSettings, deployment: string): Addressed | undefined {
  if (deployment === settings.deployment) return { ...settings, quota: deployment }
  const other = settings.others.find((each) => each.deployment === deployment)
  if (other === undefined) return undefined
  const { model = settings.model, rpm = settings.rpm, quota = deployment } = other
  return { ...settings, deployment, model, rpm, quota }
}

/** The settings with the changes in them. A change replaces its whole setting: `faults: {}` ends all faults. */
export function changeSettings(
  settings: DeploymentSettings,
  changes: unknown,
):
  | { readonly kind: 'settings'; readonly settings: DeploymentSettings }
  | { readonly kind: 'invalid'; readonly message: string } {
  const changed = z.record(z.string(), z.unknown()).safeParse(changes)
  if (!changed.success) return { kind: 'invalid', message: z.prettifyError(changed.error) }
  const parsed = settingsSchema.safeParse({ ...settings, ...changed.data })
  return parsed.success
    ? { kind: 'settings', settings: parsed.data }
    : { kind: 'invalid', message: z.prettifyError(parsed.error) }
}
