import pMap from 'p-map'
import { isSubmitted } from '../../core/timed-id.ts'
import type { FailureKind } from '../../core/jobs/failure.ts'
import { reopened } from '../../core/jobs/transitions.ts'
import type { Job, PhaseKind } from '../../core/jobs/job.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { IndexedJob, JobRef } from '../../ports/jobs.ts'
import { announce, wake } from '../pacing/announce.ts'
import type { Context } from '../context.ts'
import { changeJob } from '../jobs/change-job.ts'
import { takeResultsBack } from './finalise.ts'

type JobPage = { readonly jobs: readonly Job[]; readonly hasMore: boolean }

/**
 * Jobs of a batch: all of them in the order of their keys, or those of one phase, or queued, in the order of its index,
 * from behind `after` on. Undefined when `after` is no job of the batch, or has left the phase in a way that has no place there.
 */
export async function jobsOfBatch(
  context: Context,
  query: {
    readonly batch: string
    readonly phases?: PhasesListed | undefined
    readonly after?: string | undefined
    readonly limit: number
  },
): Promise<JobPage | undefined> {
  const { batch, phases, after, limit } = query
  if (phases === undefined) {
    const jobs = await context.jobs.list({ batch, after, limit: limit + 1 })
    return { jobs: jobs.slice(0, limit), hasMore: jobs.length > limit }
  }
  const last = after === undefined ? undefined : (await context.jobs.get({ batch, key: after }))?.job
  if (after !== undefined && last === undefined) return undefined
  const found: IndexedJob[] = []
  for (const kind of phasesBehind(phases, last)) {
    const place = last && placeIn(kind, last)
    if (place === 'none') return undefined
    found.push(
      ...(await context.jobs.indexed({ batch, kind, after: place, limit: limit + 1 - found.length })),
    )
    if (found.length > limit) break
  }
  const jobs = await recordsOf(context, found.slice(0, limit))
  // A job may have gone on between the two reads: it is shown as it is now, so that no page ends before its time.
  return { jobs, hasMore: found.length > limit }
}

/** One phase, or those in which a job is queued: the jobs that hold a slot stand before those that wait. */
export type PhasesListed = readonly [PhaseKind] | readonly ['slotted', 'waiting']

/** Behind a job that waits no job with a slot comes any more. */
function phasesBehind(phases: PhasesListed, last: Job | undefined): readonly PhaseKind[] {
  return last?.phase.kind === 'waiting' && phases.length === 2 ? ['waiting'] : phases
}

/** Where the job stood, or would have stood, in that index; undefined: before all of it. */
function placeIn(
  kind: PhaseKind,
  job: Job,
): Pick<IndexedJob, 'at' | 'key' | 'priority'> | undefined | 'none' {
  const { key, priority, phase, slotAt } = job
  switch (kind) {
    case 'waiting':
      return phase.kind === 'waiting' ? { at: phase.dueAt, key, priority } : undefined
    case 'slotted':
      return slotAt === null ? undefined : { at: slotAt, key, priority }
    case 'running':
      return phase.kind === 'running' ? { at: phase.leaseUntil, key, priority } : undefined
    case 'succeeded':
    case 'failed':
    case 'cancelled':
      return 'finishedAt' in phase && phase.kind === kind ? { at: phase.finishedAt, key, priority } : 'none'
  }
}

async function recordsOf(context: Context, refs: readonly JobRef[]): Promise<readonly Job[]> {
  const read = async (ref: JobRef) => context.jobs.get(ref)
  const snapshots = await pMap(refs, read, { concurrency: limits.readsAtOnce })
  return snapshots.flatMap((snapshot) => snapshot?.job ?? [])
}

export type Retry = {
  readonly batch: string
  readonly kinds: readonly FailureKind[]
  /** Those that failed later, again perhaps, are left alone. */
  readonly failedBefore: number
}

/**
 * Lets failed jobs wait again, for as long as one answer may take; the rest is done in the background. Answers how many
 * wait again so far, and whether that is all.
 */
export async function retryJobs(
  context: Context,
  retry: Retry,
): Promise<{ readonly retried: number; readonly isAll: boolean }> {
  const { batch, failedBefore } = retry
  const endAt = context.clock.now() + timing.retryWaitMs
  const stored = await context.batches.readBatch(batch)
  let after: IndexedJob | undefined
  let retried = 0
  for (;;) {
    const page = await context.jobs.indexed({ batch, kind: 'failed', after, limit: limits.retriesAtOnce })
    const wanted = page.filter(({ at, failure }) => failure !== null && isAskedFor(retry, { at, failure }))
    // Before the jobs wait: one without a flow would be seen by nobody if this instance died here. Cancelled meanwhile,
    // the batch stays so.
    if (stored === undefined || (await wake(context, stored)).decision?.kind === 'cancelled') {
      return { retried, isAll: true }
    }
    if (retried === 0 && wanted.length > 0) await openAgain(context, batch)
    const done = await Promise.all(wanted.map(async (ref) => reopen(context, ref, retry)))
    retried += done.filter(Boolean).length
    // Had this instance stood still meanwhile, the batch was finished again, without these jobs.
    if (done.includes(true)) await takeResultsBack(context, batch)
    after = page.at(-1)
    if (retried > 0) await announce(context, stored)
    const isAll = page.length < limits.retriesAtOnce || (after?.at ?? 0) >= failedBefore
    if (isAll || context.clock.now() >= endAt) {
      const now = context.clock.now()
      if (!isAll) await context.messages.sendBatchTask({ task: 'retry', ...retry }, now)
      return { retried, isAll }
    }
  }
}

async function openAgain(context: Context, batch: string): Promise<void> {
  if (!isSubmitted(batch)) return
  // Should this instance die before a job waits: then its results are written once more.
  await context.messages.sendBatchTask({ task: 'finalise', batch }, context.clock.now() + timing.retryWaitMs)
  await takeResultsBack(context, batch)
}

/** Since it was listed it may have been asked for by somebody else, run, and failed again, otherwise perhaps. */
async function reopen(context: Context, ref: JobRef, retry: Retry): Promise<boolean> {
  const next = (job: Job) => (isMeant(retry, job) ? reopened(job, { now: context.clock.now() }) : undefined)
  const change = await changeJob(context, ref, next, { isAnnouncedByCaller: true })
  return change.kind === 'changed'
}

function isMeant(retry: Retry, { phase }: Job): boolean {
  return phase.kind === 'failed' && isAskedFor(retry, { at: phase.finishedAt, failure: phase.failure.kind })
}

function isAskedFor(
  { kinds, failedBefore }: Retry,
  { at, failure }: { at: number; failure: FailureKind },
): boolean {
  return at < failedBefore && kinds.includes(failure)
}
