import { isFinal, isInRun, snoozed, unslotted, type Job } from '../../core/jobs/job.ts'
import { errorCode } from '../../core/log-event.ts'
import { timing } from '../../core/timing.ts'
import type { JobSnapshot } from '../../ports/jobs.ts'
import { announce } from '../pacing/announce.ts'
import type { Context } from '../context.ts'
import { tellJobEnd } from '../webhooks/webhooks.ts'
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
  const waiting = unslotted(snapshot.job)
  if (waiting !== undefined) await context.jobs.change(snapshot, { ...waiting, upperMicroUsd })
  await announce(context, snapshot.job)
  return { kind: 'snoozed', code }
}

export async function snoozeUnsent(context: Context, lease: Lease, code: string): Promise<RunOutcome> {
  await finish(context, lease, (job) => ofThisRun(lease, job) && snoozed(job))
  await announce(context, lease.job)
  return { kind: 'snoozed', code }
}

/** Tries of a change that somebody else's change of the same job can get in the way of; twice is rare. */
const finishTriesMax = 10

/**
 * Ends the run with a change of the job, made against what the job is now: a rescue may have moved it. Undefined when
 * the job, as it stands, has no use for the change.
 */
export async function finish(
  context: Context,
  lease: Lease,
  change: (job: Job) => Job | undefined,
): Promise<JobSnapshot | undefined> {
  let told: number | undefined
  // The lease goes on until the change is written: what was answered must not look like a death meanwhile.
  return persist(context, async () => {
    let before: JobSnapshot | undefined = lease.held()
    for (let tries = 0; tries < finishTriesMax && before !== undefined; tries += 1) {
      const after = change(before.job)
      if (after === undefined) return undefined
      if (told !== finishedAtOf(after)) await tellJobEnd(context, after)
      told = finishedAtOf(after)
      const mayWaitMs = isFinal(after) ? timing.endMayWaitMs : 0
      const changed = await context.jobs.change(before, after, { mayWaitMs })
      if (changed !== undefined) return changed
      before = await context.jobs.get(before.job)
    }
    return undefined
  })
}

function finishedAtOf({ phase }: Job): number | undefined {
  return 'finishedAt' in phase ? phase.finishedAt : undefined
}

/** Waits between tries to keep what was paid for while storage is away, beyond the storage client's own tries. */
const persistDelaysMs = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]

export async function persist<T>(context: Context, act: () => Promise<T>): Promise<T> {
  for (const delayMs of persistDelaysMs) {
    try {
      return await act()
    } catch (error) {
      context.log.event('result_not_stored', { code: errorCode(error), delayMs })
      await context.clock.sleepUntil(context.clock.now() + delayMs)
    }
  }
  return act()
}

/** The job, if nobody has moved it since this run claimed it. */
export function ofThisRun(lease: Lease, job: Job): Job | undefined {
  return isInRun(job, lease.job) ? job : undefined
}
