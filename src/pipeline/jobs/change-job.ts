import type { Job } from '../../core/jobs/job.ts'
import type { JobRef, JobSnapshot } from '../../ports/jobs.ts'
import type { Context } from '../context.ts'
import { announce } from '../pacing/announce.ts'
import { tellJobEnd } from '../webhooks/webhooks.ts'
import { persist } from './persist.ts'

/** The job as it was read, or where to read it; or who holds it, and changes it meanwhile. */
export type JobAtHand = JobSnapshot | JobRef | { held(): JobSnapshot }

export type JobChange =
  | ({ readonly kind: 'changed' } & JobSnapshot)
  /** The job, as it stands, has no use for the change. */
  | { readonly kind: 'refused'; readonly job: Job }
  /** Somebody else changed it first, at each try. */
  | { readonly kind: 'overtaken' }
  | { readonly kind: 'unknown-job' }

export type ChangeOptions = {
  /** Tries in all; by default one. Each further one is made against the job as it then stands. */
  readonly triesMax?: number
  /** Storage that is away is tried again for a minute: what was paid for would be lost. */
  readonly isPersistent?: boolean
  /** How long the write may wait for others of its batch, to share their transaction. */
  readonly mayWaitMs?: (after: Job) => number
  /** The caller announces a job that waits again: for many at once, or when more is written before the pacer looks. */
  readonly isAnnouncedByCaller?: boolean
}

/**
 * The one way in which a job that exists is changed. `next` makes the job's next value of the one that stands; it is
 * called anew at each try. A job's end is told before it is written: an instance that dies between the two leaves a message
 * that finds the job unfinished, never a finished job that nobody tells of. The pacer learns of a job that waits again
 * once it does.
 */
export async function changeJob(
  context: Context,
  start: JobAtHand,
  next: (job: Job) => Job | undefined,
  options: ChangeOptions = {},
): Promise<JobChange> {
  const { isPersistent = false, isAnnouncedByCaller = false } = options
  const progress: Progress = { toldEndAt: undefined, after: undefined }
  const write = async () => writeJob(context, start, next, { ...options, progress })
  const change = isPersistent ? await persist(context, write) : await write()
  const { after } = progress
  // Also after a write that found the job changed: it may have been our own, whose answer was lost.
  if (after?.phase.kind === 'waiting' && !isAnnouncedByCaller) await announce(context, after)
  return change
}

/** How far a change has come, over all its tries. */
type Progress = {
  /** When the job ended, in the end that was told last. */
  toldEndAt: number | undefined
  /** The value that was written last, or was meant to be. */
  after: Job | undefined
}

async function writeJob(
  context: Context,
  start: JobAtHand,
  next: (job: Job) => Job | undefined,
  {
    progress,
    triesMax = 1,
    mayWaitMs = () => 0,
  }: Pick<ChangeOptions, 'triesMax' | 'mayWaitMs'> & { readonly progress: Progress },
): Promise<JobChange> {
  let before = await readJob(context, start)
  for (let tries = 1; before !== undefined; tries += 1) {
    const after = next(before.job)
    if (after === undefined) return { kind: 'refused', job: before.job }
    progress.after = after
    await tellOnce(context, after, progress)
    const written = await context.jobs.change(before, after, { mayWaitMs: mayWaitMs(after) })
    if (written !== undefined) return { kind: 'changed', ...written }
    if (tries >= triesMax) return { kind: 'overtaken' }
    before = await context.jobs.get(before.job)
  }
  return { kind: 'unknown-job' }
}

async function readJob(context: Context, start: JobAtHand): Promise<JobSnapshot | undefined> {
  if ('held' in start) return start.held()
  return 'version' in start ? start : context.jobs.get(start)
}

async function tellOnce(context: Context, after: Job, progress: Progress): Promise<void> {
  const { phase } = after
  const endsAt = 'finishedAt' in phase ? phase.finishedAt : undefined
  if (endsAt !== progress.toldEndAt) await tellJobEnd(context, after)
  progress.toldEndAt = endsAt
}
