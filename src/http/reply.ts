import type { HttpRequest } from '@azure/functions'
import type { Caller } from '../core/caller.ts'
import { usdOf } from '../core/costs/money.ts'
import { timing } from '../core/timing.ts'
import type { Context } from '../pipeline/context.ts'
import { SettingsError } from '../settings.ts'

/** OpenAI's error shape, so that its clients raise their own error classes. */
export type ApiError = {
  readonly status: number
  readonly message: string
  readonly param?: string | null
  readonly code?: string | null
  /** When it may be sent again. */
  readonly retryAfterMs?: number
}

export type Reply = {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly jsonBody?: object
  /** Bytes, or a stream of them that is read only as fast as the client takes it. */
  readonly body?: Uint8Array | string | AsyncIterable<Uint8Array>
}

export function reply(status: number, body: object, headers: Record<string, string> = {}): Reply {
  return { status, headers: { 'cache-control': 'no-store', ...headers }, jsonBody: body }
}

/** The types are OpenAI's own; of too many requests, `requests`. */
export function replyError({ status, message, param = null, code = null, retryAfterMs }: ApiError): Reply {
  const type = status >= 500 ? 'server_error' : status === 429 ? 'requests' : 'invalid_request_error'
  return reply(status, { error: { message, type, param, code } }, waits(retryAfterMs))
}

/** OpenAI's clients read the milliseconds, all others the seconds. */
function waits(retryAfterMs: number | undefined): Record<string, string> {
  if (retryAfterMs === undefined) return {}
  const seconds = Math.ceil(retryAfterMs / 1_000)
  return { 'retry-after': String(seconds), 'retry-after-ms': String(1_000 * seconds) }
}

export function notFound(what: string): Reply {
  return replyError({ status: 404, code: 'not_found', message: `${what} does not exist` })
}

/** A request that was understood to be one of ours. `id` is told to the caller with every reply, and logged. */
export type Call = {
  readonly request: HttpRequest
  readonly context: Context
  readonly id: string
  readonly caller: Caller
  /** Aborted when the client leaves before its answer is complete. */
  readonly gone?: AbortSignal | undefined
}

/** What the client did makes an answer impossible, and was found out deep inside. */
export class RequestRefused extends Error {
  override readonly name = 'RequestRefused'
  readonly answer: ApiError

  constructor(answer: ApiError, cause?: unknown) {
    super(answer.message, { cause })
    this.answer = answer
  }
}

/** Turns what goes wrong into a reply: the client, the settings, storage, or a fault of ours. Details are logged, not told. */
export function asReply(error: unknown): Reply {
  if (error instanceof RequestRefused) return replyError(error.answer)
  if (error instanceof SettingsError) {
    const message = 'the service is not set up: its log names the settings that cannot be used'
    return replyError({ status: 503, code: 'not_configured', message })
  }
  return replyError(internalError)
}

export const internalError: ApiError = {
  status: 500,
  code: 'internal_error',
  message: 'the service failed; its log has the request id',
}

export const gaveUp: ApiError = {
  status: 504,
  code: 'no_progress',
  message: `the request was given up: nothing of it moved for ${timing.quietMs / 1_000} s; look what became of it before you send it again`,
}

export const unreadableRequest: ApiError = {
  status: 400,
  code: 'invalid_request',
  message: 'the request cannot be read: its address or host is none',
}

/** A request of which the service lost hold, in the middle. */
export function failedReply(
  error: ApiError,
  asked: { readonly id: string; readonly method: string; readonly isHarmless: boolean },
): Reply {
  const failed = replyError(error)
  return { ...failed, headers: { ...failed.headers, ...retryHeader(asked), 'x-request-id': asked.id } }
}

/** What became of it is not known: a client that sends it again by itself might have it done, and pay for it, twice. */
export function retryHeader(asked: {
  readonly method: string
  /** With an idempotency key it is the same request; some others come to the same when they are repeated. */
  readonly isHarmless: boolean
}): Record<string, string> {
  return asked.method === 'POST' && !asked.isHarmless ? { 'x-should-retry': 'false' } : {}
}

/** Epoch milliseconds to unix seconds, as in OpenAI's API. */
export function seconds(time: number): number
export function seconds(time: number | null): number | null
export function seconds(time: number | null): number | null {
  return time === null ? null : Math.floor(time / 1_000)
}

/** Micro-dollars to dollars. */
export function usd(microUsd: number): number
export function usd(microUsd: number | null): number | null
export function usd(microUsd: number | null): number | null {
  return microUsd === null ? null : usdOf(microUsd)
}

/** Slots keep their decimals. */
export function exactSeconds(time: number | null): number | null {
  return time === null ? null : Math.round(time) / 1_000
}

/** Seconds after which a poll is worth its while again: never more than a minute, for plans change. */
export function retryAfter(readyAt: number | null, now: number): string {
  const seconds = readyAt === null ? retryAfterMaxSeconds : Math.ceil((readyAt - now) / 1_000)
  return String(Math.min(retryAfterMaxSeconds, Math.max(1, seconds)))
}

const retryAfterMaxSeconds = 60

/** What is about to be done is asked for again so soon. */
export const pollSoonMs = 2_000
