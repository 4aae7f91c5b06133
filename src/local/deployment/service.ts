import { hash } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import type { ErrorAnswer } from './answers.ts'
import * as answers from './answers.ts'
import { inputHashes, picturesIn, readAsked } from './asked.ts'
import type { ReadBody } from './body.ts'
import { chanceFrom } from './chance.ts'
import type { Door } from './door.ts'
import { isLetIn, takesVersion } from './door.ts'
import type { EditInputs } from './edit.ts'
import type { Fault } from './faults.ts'
import { planFault } from './faults.ts'
import type { Generation } from './generation.ts'
import { readGeneration } from './generation.ts'
import { drawPicture, isReadable, plainPicture } from './pictures.ts'
import type { Addressed, DeploymentSettings } from './settings.ts'
import { settingsOf } from './settings.ts'
import { usageOf } from './tokens.ts'
import type { Judgement, RateWindows } from './windows.ts'
import { createRateWindows } from './windows.ts'

/** What goes back to the caller, and what the log wants to know of it. */
export type Reply = { readonly prompt: string | null; readonly billed: boolean } & (
  | { readonly kind: 'error'; readonly answer: ErrorAnswer }
  /** The connection ends without an answer. */
  | { readonly kind: 'dropped' }
  /** Half of the body is sent. */
  | { readonly kind: 'truncated'; readonly body: Buffer }
  | {
      readonly kind: 'pictures'
      readonly body: Buffer
      readonly outcome: 'succeeded' | 'short' | 'garbage'
      readonly sha256: readonly string[]
      readonly totalTokens: number
    }
)

/** The hashes are those of the pictures that the request came with. */
export type LoggedReply = Reply & { readonly inputSha256: readonly string[] }

export type Service = {
  /** To be called the moment a request comes in; undefined when it does not count against any deployment here. */
  arrive(request: { readonly door: Door | undefined; readonly arrivedAt: number }): Judgement | undefined
  reply(request: Visit): Promise<LoggedReply>
}

type Visit = {
  readonly door: Door | undefined
  readonly judgement: Judgement | undefined
  readonly requestId: string
  readonly headers: {
    readonly apiKey: string | undefined
    readonly authorization: string | undefined
    readonly contentType: string | undefined
  }
  readonly body: ReadBody
}

/** The settings of the deployment at a door, if there is one. The v1 path names its own in the body: it is the first. */
export function addressedAt(door: Door | undefined, settings: DeploymentSettings): Addressed | undefined {
  if (door === undefined) return undefined
  return settingsOf(settings, door.kind === 'v1' ? settings.deployment : door.deployment)
}

/** The deployments without their server. `signal` ends the work that is under way. */
export function createService({
  settings,
  signal,
}: {
  readonly settings: () => DeploymentSettings
  readonly signal: AbortSignal
}): Service {
  const windows = new Map<string, RateWindows>()
  const countEarlier = createPromptCounter()
  let working = 0

  return {
    arrive({ door, arrivedAt }) {
      const here = addressedAt(door, settings())
      if (door === undefined || here === undefined || !takesVersion(door, here.apiVersions)) return undefined
      const ofQuota = windows.get(here.quota) ?? createRateWindows()
      windows.set(here.quota, ofQuota)
      return ofQuota.arrive({ arrivedAt, rule: here })
    },

    async reply(visit) {
      const now = addressedAt(visit.door, settings()) ?? settings()
      const asked = await readAsked({ ...visit, contentType: visit.headers.contentType })
      const prompt = typeof asked.body?.['prompt'] === 'string' ? asked.body['prompt'] : null
      const inputSha256 = inputHashes(asked)
      const refuse = (answer: ErrorAnswer): LoggedReply => ({
        kind: 'error',
        answer,
        prompt,
        billed: false,
        inputSha256,
      })
      const closed = refusedAtDoor(visit, now)
      if (closed !== undefined) return refuse(closed)
      if (visit.door === undefined) return refuse(answers.resourceNotFound())
      if (asked.kind === 'refused') return refuse(asked.answer)
      const read = readGeneration(asked.body, visit.door, now)
      if (read.kind === 'refused') return refuse(read.answer)

      const broken = now.pictures === 'drawn' ? await faultInPixels(asked.inputs) : undefined
      if (broken !== undefined) return refuse(broken)

      const generation = { ...read.generation, inputs: asked.inputs }
      const earlier = countEarlier(generation.prompt)
      const chance = chanceFrom(now.seed, 'service', generation.prompt, earlier)
      const plan = planFault({ prompt: generation.prompt, earlier, rates: now.faults, chance })
      if (plan.kind === 'unknown-marker') {
        return refuse(answers.invalidValue('prompt', `The simulated deployment knows no ${plan.marker}.`))
      }
      const isFull = now.capacity !== null && working >= now.capacity
      if (isFull || plan.fault === 'capacity')
        return refuse(answers.highDemand(now.capacityRetryAfterSeconds))
      const latencyMs = plan.slowMs ?? now.latencyMs.min + chance() * (now.latencyMs.max - now.latencyMs.min)
      working += 1
      try {
        const [reply] = await Promise.all([
          work(generation, visit.door, plan.fault, { ...now, requestId: visit.requestId }),
          waitOrStop(latencyMs, signal),
        ])
        return { ...reply, inputSha256 }
      } finally {
        working -= 1
      }
    },
  }
}

/** What is refused before the body is looked at, in the order in which Azure's layers stand behind each other. */
function refusedAtDoor(visit: Visit, now: DeploymentSettings): ErrorAnswer | undefined {
  const { door, judgement } = visit
  if (door === undefined || !takesVersion(door, now.apiVersions)) return answers.resourceNotFound()
  if (!isLetIn(visit.headers, now)) return answers.unauthorized()
  if (door.kind === 'deployments' && door.deployment !== now.deployment) return answers.deploymentNotFound()
  if (now.blocked) return answers.forbidden()
  if (now.retired) return answers.deploymentNotFound()
  if (judgement?.kind !== 'throttled') return undefined
  return answers.rateLimitReached(now.deployment, door.apiVersion || 'v1', judgement.retryAfterMs)
}

/** A picture may look whole and be none. */
async function faultInPixels(inputs: EditInputs | undefined): Promise<ErrorAnswer | undefined> {
  for (const bytes of picturesIn(inputs)) {
    if (await isReadable(bytes)) continue
    return bytes === inputs?.mask
      ? answers.invalidValue('mask', 'Invalid mask image format: the file cannot be read.')
      : answers.invalidValue('image', 'Invalid image file or mode: the file cannot be read.')
  }
  return undefined
}

type Context = DeploymentSettings & { readonly requestId: string }

type Work = Generation & { readonly inputs: EditInputs | undefined }

async function work(
  generation: Work,
  door: Door,
  fault: Fault | undefined,
  context: Context,
): Promise<Reply> {
  const { prompt } = generation
  if (fault === 'dropped') return { kind: 'dropped', prompt, billed: true }
  if (fault !== undefined && fault !== 'truncated' && fault !== 'short' && fault !== 'garbage') {
    return { kind: 'error', answer: answers.faultAnswer(fault, context), prompt, billed: billed.has(fault) }
  }
  const { body, sha256, totalTokens } = await success(generation, door, fault, context)
  if (fault === 'truncated') return { kind: 'truncated', body, prompt, billed: true }
  return { kind: 'pictures', body, outcome: fault ?? 'succeeded', sha256, totalTokens, prompt, billed: true }
}

/** "If the service performs processing, you're charged": Microsoft's text names content filters and time-outs. */
const billed: ReadonlySet<Fault> = new Set([
  'moderation_blocked',
  'content_policy_violation',
  'contentFilter',
  'contentFilterOutput',
  '408',
])

async function success(
  generation: Work,
  door: Door,
  fault: 'truncated' | 'short' | 'garbage' | undefined,
  settings: Context,
): Promise<{ readonly body: Buffer; readonly sha256: readonly string[]; readonly totalTokens: number }> {
  const { n, width, height, background, outputFormat, quality } = generation
  const pictures = await Promise.all(
    Array.from({ length: fault === 'short' ? n - 1 : n }, async (_, index) =>
      picture(generation, index, fault, settings),
    ),
  )
  const inputImages = picturesIn(generation.inputs).length
  const usage = usageOf({ ...generation, model: settings.model, inputImages })
  const body = {
    created: Math.floor(Date.now() / 1_000),
    background,
    output_format: outputFormat,
    quality,
    size: `${width}x${height}`,
    data: pictures.map((bytes) => ({
      b64_json: bytes.toString('base64'),
      ...(door.kind === 'v1' ? answers.harmless : {}),
    })),
    usage,
  }
  const sha256 = pictures.map((bytes) => hash('sha256', bytes))
  return { body: Buffer.from(JSON.stringify(body)), sha256, totalTokens: usage.total_tokens }
}

async function picture(
  generation: Work,
  index: number,
  fault: 'truncated' | 'short' | 'garbage' | undefined,
  settings: Context,
): Promise<Buffer> {
  if (fault === 'garbage') return Buffer.from('This is no picture.')
  const asked = { ...generation, isTransparent: generation.background === 'transparent' }
  if (settings.pictures === 'plain') return plainPicture(asked, `${settings.requestId}-${index}`)
  return drawPicture({ ...asked, index, seed: settings.seed, model: settings.model })
}

// As many prompts as the log has entries; the oldest are forgotten first.
const maxPrompts = 200_000

function createPromptCounter(): (prompt: string) => number {
  const seen = new Map<string, number>()
  return (prompt) => {
    const earlier = seen.get(prompt) ?? 0
    const [oldest] = earlier === 0 && seen.size >= maxPrompts ? seen.keys() : []
    if (oldest !== undefined) seen.delete(oldest)
    seen.set(prompt, earlier + 1)
    return earlier
  }
}

async function waitOrStop(delayMs: number, signal: AbortSignal): Promise<void> {
  try {
    await setTimeout(delayMs, undefined, { signal })
  } catch (cause) {
    if (!signal.aborted) throw cause
  }
}
