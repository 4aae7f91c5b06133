import { timing } from '../timing.ts'
import { attemptsAllowed, type Failure, type OnUnknown } from './failure.ts'
import { failed, postponed, retried, snoozed, unslotted } from './transitions.ts'
import type { Job } from './job.ts'

/**
 * The job's next value after a failure: it waits again, at no cost in attempts or for another one, or has failed for
 * good. The failure of a job that holds a slot came before its call: nothing was sent. Undefined when the job has neither
 * a slot nor a call: somebody else moved it. `chance` is in [0, 1).
 */
export function afterFailure(
  job: Job,
  { kind, code, message, requestId }: Failure & { readonly requestId?: string | undefined },
  policy: { readonly attemptsMax: number; readonly onUnknown: OnUnknown },
  { now, chance }: { readonly now: number; readonly chance: number },
): Job | undefined {
  const isSent = job.phase.kind === 'running'
  switch (kind) {
    case 'throttled':
    case 'unavailable':
      return isSent ? snoozed(job, { requestId }) : unslotted(job)
    case 'transient':
    case 'unknown': {
      const possiblyPaid = isSent && kind === 'unknown'
      const attempts = isSent ? job.attempts - job.attemptsForgiven : job.postponements + 1
      const isLast = attempts >= attemptsAllowed(code, policy.attemptsMax)
      if (isLast || (possiblyPaid && (job.onUnknown ?? policy.onUnknown) === 'fail')) break
      const dueAt = now + retryDelayMs(attempts, chance)
      return isSent ? retried(job, { dueAt, possiblyPaid, requestId }) : postponed(job, { dueAt })
    }
    case 'refused':
    case 'invalid':
      break
  }
  return failed(job, { finishedAt: now, failure: { kind, code, message }, requestId })
}

/** Full jitter: a uniform wait up to a ceiling that doubles, so that retries of many jobs spread. */
function retryDelayMs(attempts: number, chance: number): number {
  return Math.round(chance * Math.min(timing.retryCeilingMs, timing.retryBaseMs * 2 ** attempts))
}
