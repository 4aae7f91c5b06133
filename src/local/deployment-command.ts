import { once } from 'node:events'
import { z } from 'zod'
import { readJson } from '../core/json.ts'
import type { DeploymentOptions } from './deployment/deployment.ts'
import { startDeployment } from './deployment/deployment.ts'
import { faults, ratedFaults } from './deployment/faults.ts'
import { changeSettings, defaultSettings } from './deployment/settings.ts'

/**
 * Runs a simulated deployment, or several of one resource, as a process of its own, until SIGINT or SIGTERM. Options come from the environment,
 * each named as in `optionsFrom`; what is not set keeps its default. Prints one line when it is ready.
 */
async function run(): Promise<void> {
  if (process.argv.length > 2) {
    console.log(
      `npm run deployment: a simulated deployment, until it is stopped. It goes by the environment:\n${settingsText()}\nA prompt with [fault:NAME] fails so, with [fault:NAME:xN] N times; NAME is slow:SECONDS, or one of\n  ${faults.join(', ')}`,
    )
    process.exitCode = process.argv[2] === '--help' ? 0 : 1
    return
  }
  const options = optionsFrom(process.env)
  if (options.kind === 'invalid') {
    console.error(`The simulated deployment cannot start:\n${options.message}`)
    process.exitCode = 1
    return
  }
  const deployment = await startDeployment(options.options)
  console.log(`deployment: ready on ${deployment.endpoint}`)
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  await deployment.stop()
}

/** With the form, or the default, of each. */
function settingsText(): string {
  const notes: Readonly<Record<keyof typeof environmentSchema.shape, string>> = {
    DEPLOYMENT_PORT: 'where it listens; default: a free port',
    DEPLOYMENT_NAME: `its name; default: ${defaultSettings.deployment}`,
    DEPLOYMENT_MODEL: `which sizes and qualities it takes; default: ${defaultSettings.model}`,
    DEPLOYMENT_RPM: `requests a minute; default: ${defaultSettings.rpm}`,
    DEPLOYMENT_OTHERS: 'further deployments: [{"deployment":"second","model":"gpt-image-2","rpm":30}]',
    DEPLOYMENT_WINDOWS_MS: `windows over which the rate is judged; default: ${defaultSettings.windowsMs.join(',')}`,
    DEPLOYMENT_COUNT_REJECTED: `whether requests that got a 429 count; default: ${defaultSettings.countRejected}`,
    DEPLOYMENT_API_KEY: `the key that it wants; default: ${defaultSettings.apiKey}`,
    DEPLOYMENT_API_VERSIONS: `the versions that it takes; default: ${defaultSettings.apiVersions.join(',')}`,
    DEPLOYMENT_LATENCY_MS: `how long a call takes; default: ${defaultSettings.latencyMs.min}-${defaultSettings.latencyMs.max}`,
    DEPLOYMENT_PICTURES: `drawn or plain; default: ${defaultSettings.pictures}`,
    DEPLOYMENT_SEED: `equal seeds give equal pictures and faults; default: ${defaultSettings.seed}`,
    DEPLOYMENT_FAULTS: `shares, as serverError=0.05,dropped=0.02, of ${ratedFaults.map(([name]) => name).join(', ')}`,
    DEPLOYMENT_RETRY_AFTER: `body or headers: where a 429 says how long to wait; default: ${defaultSettings.retryAfter}`,
    DEPLOYMENT_CAPACITY: 'requests at once before "high demand"; default: no end',
  }
  return Object.entries(notes)
    .map(([name, note]) => `  ${name.padEnd(26)} ${note}`)
    .join('\n')
}

function optionsFrom(
  environment: NodeJS.ProcessEnv,
):
  | { readonly kind: 'options'; readonly options: DeploymentOptions }
  | { readonly kind: 'invalid'; readonly message: string } {
  const set = Object.entries(environment).filter(
    ([name, value]) => name.startsWith('DEPLOYMENT_') && value !== '',
  )
  const parsed = environmentSchema.safeParse(Object.fromEntries(set))
  if (!parsed.success) return { kind: 'invalid', message: z.prettifyError(parsed.error) }
  const given = parsed.data
  const changes = {
    deployment: given.DEPLOYMENT_NAME,
    model: given.DEPLOYMENT_MODEL,
    rpm: given.DEPLOYMENT_RPM,
    others: given.DEPLOYMENT_OTHERS,
    windowsMs: given.DEPLOYMENT_WINDOWS_MS,
    countRejected: given.DEPLOYMENT_COUNT_REJECTED,
    apiKey: given.DEPLOYMENT_API_KEY,
    apiVersions: given.DEPLOYMENT_API_VERSIONS,
    latencyMs: given.DEPLOYMENT_LATENCY_MS,
    pictures: given.DEPLOYMENT_PICTURES,
    seed: given.DEPLOYMENT_SEED,
    faults: given.DEPLOYMENT_FAULTS,
    retryAfter: given.DEPLOYMENT_RETRY_AFTER,
    capacity: given.DEPLOYMENT_CAPACITY,
  }
  const isSet = Object.entries(changes).filter(([, value]) => value !== undefined)
  const changed = changeSettings(defaultSettings, Object.fromEntries(isSet))
  if (changed.kind === 'invalid') return changed
  return { kind: 'options', options: { ...changed.settings, port: given.DEPLOYMENT_PORT } }
}

const number = z.string().trim().min(1).pipe(z.coerce.number())
const list = z.string().transform((text) => text.split(',').map((part) => part.trim()))

const environmentSchema = z.strictObject({
  /** 0 or absent takes a free port. */
  DEPLOYMENT_PORT: number.pipe(z.int().min(0).max(65_535)).default(0),
  DEPLOYMENT_NAME: z.string().optional(),
  DEPLOYMENT_MODEL: z.string().optional(),
  DEPLOYMENT_RPM: number.optional(),
  /** `[{"deployment":"second","model":"gpt-image-2","rpm":30,"quota":"shared"}]`; see `others` in settings.ts. */
  DEPLOYMENT_OTHERS: z
    .string()
    .transform((text, context) => {
      const json = readJson(text)
      if (json.kind === 'json') return json.value
      context.addIssue({ code: 'custom', message: `not JSON (${json.reason})` })
      return z.NEVER
    })
    .optional(),
  /** `10000,60000` */
  DEPLOYMENT_WINDOWS_MS: list.pipe(z.array(number)).optional(),
  DEPLOYMENT_COUNT_REJECTED: z.stringbool().optional(),
  DEPLOYMENT_API_KEY: z.string().optional(),
  /** `2025-04-01-preview,2024-02-01` */
  DEPLOYMENT_API_VERSIONS: list.optional(),
  /** `2000` or `1000-3000` */
  DEPLOYMENT_LATENCY_MS: z
    .string()
    .transform((text) => text.split('-'))
    .pipe(z.union([z.tuple([number, number]), z.tuple([number])]))
    .transform(([min, max]) => ({ min, max: max ?? min }))
    .optional(),
  DEPLOYMENT_PICTURES: z.enum(['drawn', 'plain']).optional(),
  DEPLOYMENT_SEED: number.optional(),
  /** `dropped=0.02,serverError=0.05` */
  DEPLOYMENT_FAULTS: list
    .transform((parts) => Object.fromEntries(parts.map((part) => part.split('='))))
    .pipe(z.partialRecord(z.enum(ratedFaults.map(([name]) => name)), number))
    .optional(),
  DEPLOYMENT_RETRY_AFTER: z.enum(['body', 'headers']).optional(),
  DEPLOYMENT_CAPACITY: number.optional(),
})

await run()
