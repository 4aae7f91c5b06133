import { limits } from '../limits.ts'

/** The kinds of failure. What follows from each for its job is in `afterFailure`. */
export const failureKinds = [
  'throttled',
  'transient',
  'refused',
  'invalid',
  'unavailable',
  'unknown',
] as const

export type FailureKind = (typeof failureKinds)[number]

/** What a job that failed for good says of it. */
export type Failure = { readonly kind: FailureKind; readonly code: string; readonly message: string }

/** What the model, or the way to it, answered instead of images. */
export type ModelFailure = Failure & {
  readonly status: number | null
  readonly requestId: string | undefined
  /** Of a 429: whether the deployment's limit was meant, or Azure is short of machines. */
  readonly cause: 'rate' | 'capacity'
  /** The wait the answer asked for. */
  readonly retryAfterMs: number | null
  /** The limit of requests a minute that its headers spoke of. */
  readonly limitRpm: number | null
}

export function failure(kind: FailureKind, code: string, message: string): Failure {
  return {
    kind,
    code: code.slice(0, limits.quotedValueCharsMax).toWellFormed(),
    message: message.slice(0, limits.failureMessageCharsMax).toWellFormed(),
  }
}

/** A paid answer that was no picture: asked once more, as the next may be the same. */
export const badAnswer = 'bad_answer'

export function attemptsAllowed(code: string, attemptsMax: number): number {
  return code === badAnswer ? Math.min(2, attemptsMax) : attemptsMax
}

/** `retry`: a call that may have been paid for is made again and labelled; `fail`: a person decides. */
export type OnUnknown = 'retry' | 'fail'
