import { readDestination, type Destinations } from '../destination.ts'
import type { Job } from '../jobs/job.ts'
import { fingerprint } from '../fingerprint.ts'
import { jobId } from '../jobs/keys.ts'
import { limits } from '../limits.ts'

/** What webhooks tell, and when they are tried again. Form: the Standard Webhooks specification. */

/** One event: the same on every try, and after every crash. */
export type HookEvent = { readonly eventId: string; readonly type: EventType; readonly body: string }

export const eventTypes = [
  'batch.completed',
  'batch.failed',
  'batch.cancelled',
  'job.succeeded',
  'job.failed',
  'job.cancelled',
] as const

type EventType = (typeof eventTypes)[number]

/** The end of a batch, as its finaliser knows it. */
export type BatchEnd = {
  readonly batch: string
  readonly status: 'completed' | 'failed' | 'cancelled'
  /** The same each time that one end is told: it makes the event's id. A batch whose file is faulty ends but once. */
  readonly endedAt: number
  readonly outputFileId: string | null
  readonly errorFileId: string | null
  readonly counts: {
    readonly total: number
    readonly succeeded: number
    readonly failed: number
    readonly cancelled: number
  }
}

/** Why no webhook can go to that address, as a sentence; undefined: one can. */
export function webhookUrlFault(url: string, destinations: Destinations): string | undefined {
  const read = readDestination(url, destinations)
  if (read.kind !== 'refused') return undefined
  const wayOut = read.mayBeTrusted === true ? ', unless the setting WEBHOOK_HOSTS names its host' : ''
  return `the address ${read.why}${wayOut}`
}

/** `origin`: scheme and host under which the batch was submitted. */
export function batchEvent(end: BatchEnd, origin: string): HookEvent {
  const { batch, status, endedAt, outputFileId, errorFileId, counts } = end
  const occasion = status === 'failed' ? batch : `${batch} ${endedAt}`
  return event(`batch.${status}`, occasion, endedAt, {
    id: batch,
    object: 'batch',
    status,
    request_counts: { total: counts.total, completed: counts.succeeded, failed: counts.failed },
    cancelled: counts.cancelled,
    output_file_id: outputFileId,
    error_file_id: errorFileId,
    url: `${origin}/v1/batches/${batch}`,
  })
}

/** Undefined while the job is unfinished. Its prompt is not told, nor what the model said of it. */
export function jobEvent(job: Job, origin: string): HookEvent | undefined {
  const { phase, batch, customId } = job
  if (phase.kind !== 'succeeded' && phase.kind !== 'failed' && phase.kind !== 'cancelled') return undefined
  const id = jobId(job)
  const url = `${origin}/v1/jobs/${id}`
  const images = phase.kind === 'succeeded' ? phase.images : []
  return event(`job.${phase.kind}`, `${id} ${phase.finishedAt}`, phase.finishedAt, {
    id,
    object: 'image.job',
    batch_id: batch,
    custom_id: customId,
    status: phase.kind,
    failure: phase.kind === 'failed' ? { kind: phase.failure.kind, code: phase.failure.code } : null,
    url,
    image_urls: images.map((_, k) => `${url}/images/${k}`),
  })
}

/** `id`, `object` and `created_at` are those of OpenAI's own events, whose client reads ours as well. */
function event(type: EventType, occasion: string, at: number, data: object): HookEvent {
  const eventId = `evt_${fingerprint(`${type} ${occasion}`)}`
  const body = {
    type,
    timestamp: new Date(at).toISOString(),
    data,
    id: eventId,
    object: 'event',
    created_at: Math.floor(at / 1_000),
  }
  return { eventId, type, body: JSON.stringify(body) }
}

export type WebhookAnswer =
  | { readonly kind: 'status'; readonly status: number; readonly retryAfterMs: number | null }
  /** Nothing was sent. */
  | { readonly kind: 'refused'; readonly why: string }
  /** `timeout`, or the code of the connection's fault. */
  | { readonly kind: 'failed'; readonly code: string }

/** `gone`: the receiver wants no more events. A redirect is not followed: it could lead where the guard never looked. */
export function verdictOf(answer: WebhookAnswer): 'delivered' | 'gone' | 'again' {
  if (answer.kind !== 'status') return 'again'
  if (answer.status === 410) return 'gone'
  return answer.status >= 200 && answer.status < 300 ? 'delivered' : 'again'
}

const second = 1_000
const minute = 60 * second
const hour = 60 * minute

/** From each try to the next: ten tries in some 24 hours, the first four within three minutes. */
export const retryDelaysMs: readonly number[] = [
  5 * second,
  30 * second,
  2 * minute,
  10 * minute,
  30 * minute,
  hour,
  4 * hour,
  8 * hour,
  10 * hour,
]

/** Ten events that failed together are not tried together again. */
const jitter = 0.1

/**
 * From the try with that number (the first is 1) to the next one; undefined after the last. A receiver may ask for more
 * time, up to the longest wait of the schedule, and never for less.
 */
export function nextTryMs(
  tries: number,
  { answer, chance }: { readonly answer: WebhookAnswer; readonly chance: number },
): number | undefined {
  const planned = retryDelaysMs[tries - 1]
  if (planned === undefined) return undefined
  const asked = answer.kind === 'status' ? (answer.retryAfterMs ?? 0) : 0
  return Math.max(planned * (1 + jitter * (2 * chance - 1)), Math.min(asked, Math.max(...retryDelaysMs)))
}

/**
 * How long after each look at an unfinished job it is looked at again; undefined: whoever meant to finish it has not, and
 * whoever does will tell of it. Longer, all in all, than storage may be away while a run keeps its result.
 */
export function nextLookMs(looks: number): number | undefined {
  return [10 * second, minute, 5 * minute, 15 * minute][looks - 1]
}

/** One try, as the owner of the batch sees it. */
export type Delivery = {
  readonly at: number
  readonly eventId: string
  readonly type: EventType
  /** The first is 1. */
  readonly tries: number
  readonly status: number | null
  readonly fault: string | null
  /** Null: no further try. */
  readonly nextAt: number | null
}

/** The newest tries of a batch's webhook, newest first; and whether its receiver asked for no more. */
export type HookLog = { readonly isGone: boolean; readonly deliveries: readonly Delivery[] }

export const emptyHookLog: HookLog = { isGone: false, deliveries: [] }

export function logged(log: HookLog, delivery: Delivery): HookLog {
  const deliveries = [delivery, ...log.deliveries]
    .sort((a, b) => b.at - a.at)
    .slice(0, limits.deliveriesShown)
  return { isGone: log.isGone || delivery.status === 410, deliveries }
}

export function deliveryOf(
  answer: WebhookAnswer,
  fields: Pick<Delivery, 'at' | 'eventId' | 'type' | 'tries' | 'nextAt'>,
): Delivery {
  const status = answer.kind === 'status' ? answer.status : null
  const fault =
    answer.kind === 'refused' ? `the address ${answer.why}` : answer.kind === 'failed' ? answer.code : null
  return { ...fields, status, fault }
}
