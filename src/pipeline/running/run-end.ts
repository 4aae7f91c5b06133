import { isFinal, isInRun, type Job } from '../../core/jobs/job.ts'
import { snoozed, unslotted } from '../../core/jobs/transitions.ts'
import { timing } from '../../core/timing.ts'
import type { JobSnapshot } from '../../ports/jobs.ts'
import type { Context } from '../context.ts'
import { changeJob, type ChangeOptions, type JobChange } from '../jobs/change-job.ts'
import type { Lease } from './lease.ts'

/** What became of one run of a job. `stale`: the message spoke of a slot that the job no longer has. */
export type RunOutcome =
  | { readonly kind: 'stale' }
  /** The job waits again at its old place; `code` says why. */
  | { readonly kind: 'snoozed'; readonly code: string }
  | { readonly kind: 'succeeded'; readonly images: number }
  | { readonly kind: 'retried'; readonly code: string; readonly dueAt: number }
  | { readonly kind: 'failed'; readonly code: string }
  /** Nobody waits for it any more: it was cancelled uncalled. */
  | { readonly kind: 'given-up' }
  /** The answer came after somebody else had finished the job. */
  | { readonly kind: 'too-late' }

/** The slot is given up: the job waits again at its old place. */
export async function giveBack(
  context: Context,
  snapshot: JobSnapshot,
  code: string,
  upperMicroUsd: number = snapshot.job.upperMicroUsd,
): Promise<RunOutcome> {
  await changeJob(context, snapshot, (job) => {
    const waiting = unslotted(job)
    return waiting && { ...waiting, upperMicroUsd }
  })
  return { kind: 'snoozed', code }
}

export async function snoozeUnsent(context: Context, lease: Lease, code: string): Promise<RunOutcome> {
  await finish(context, lease, (job) => ofThisRun(lease, job) && snoozed(job))
  return { kind: 'snoozed', code }
}

/** Tries of a change that somebody else's change of the same job can get in the way of; twice is rare. */
const finishTriesMax = 10

/**
 * Ends the run with a change of the job, made against what the job is now: a rescue may have moved it. The lease goes on
 * until the change is written: what was answered must not look like a death meanwhile.
 */
export async function finish(
  context: Context,
  lease: Lease,
  next: (job: Job) => Job | undefined,
  options: Pick<ChangeOptions, 'isAnnouncedByCaller'> = {},
): Promise<JobChange> {
  return changeJob(context, lease, next, {
    ...options,
    triesMax: finishTriesMax,
    isPersistent: true,
    mayWaitMs: (after) => (isFinal(after) ? timing.endMayWaitMs : 0),
  })
}

/** The job, if nobody has moved it since this run claimed it. */
export function ofThisRun(lease: Lease, job: Job): Job | undefined {
  return isInRun(job, lease.job) ? job : undefined
}
