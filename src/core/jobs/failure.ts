import { limits } from '../limits.ts'
import { timing } from '../timing.ts'

/** The kinds of failure, design section 6. What follows from each is in `decide`. */
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

export type Decision =
  | { readonly kind: 'snooze'; readonly pause: 'deployment' | 'breaker' }
  | { readonly kind: 'retry'; readonly delayMs: number; readonly possiblyPaid: boolean }
  | { readonly kind: 'fail' }

/**
 * What follows from a failed attempt. `attempts` counts the one that failed; `chance` is in [0, 1).
 * Full jitter: a uniform wait up to a ceiling that doubles, so that retries of many jobs spread.
 */
export function decide(
  kind: FailureKind,
  job: { readonly attempts: number; readonly attemptsMax: number; readonly onUnknown: OnUnknown },
  chance: number,
): Decision {
  switch (kind) {
    case 'throttled':
      return { kind: 'snooze', pause: 'deployment' }
    case 'unavailable':
      return { kind: 'snooze', pause: 'breaker' }
    case 'refused':
    case 'invalid':
      return { kind: 'fail' }
    case 'transient':
    case 'unknown': {
      const possiblyPaid = kind === 'unknown'
      if (job.attempts >= job.attemptsMax || (possiblyPaid && job.onUnknown === 'fail'))
        return { kind: 'fail' }
      return { kind: 'retry', delayMs: retryDelayMs(job.attempts, chance), possiblyPaid }
    }
  }
}

function retryDelayMs(attempts: number, chance: number): number {
  return Math.round(chance * Math.min(timing.retryCeilingMs, timing.retryBaseMs * 2 ** attempts))
}
