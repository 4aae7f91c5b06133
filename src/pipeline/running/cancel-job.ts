import { type Job, cancelled } from '../../core/jobs/job.ts'
import type { Context } from '../context.ts'
import type { JobRef } from '../../ports/jobs.ts'
import { tellJobEnd } from '../webhooks/webhooks.ts'

export type JobCancelled =
  | { readonly kind: 'cancelled'; readonly job: Job }
  | { readonly kind: 'unknown-job' }
  /** It is finished, or its call is under way and will be kept. */
  | { readonly kind: 'too-late'; readonly job: Job }

/** How often another change of the same job may get in the way. */
const cancelTriesMax = 10

/** `reason`: why, where it was not a person who cancelled it. */
export async function cancelJob(context: Context, ref: JobRef, reason?: string): Promise<JobCancelled> {
  for (let tries = 0; tries < cancelTriesMax; tries += 1) {
    const before = await context.jobs.get(ref)
    if (before === undefined) return { kind: 'unknown-job' }
    const { job } = before
    const after = cancelled(job, { finishedAt: context.clock.now(), reason })
    if (after === undefined) {
      return job.phase.kind === 'cancelled' ? { kind: 'cancelled', job } : { kind: 'too-late', job }
    }
    await tellJobEnd(context, after)
    const changed = await context.jobs.change(before, after)
    if (changed !== undefined) return { kind: 'cancelled', job: changed.job }
  }
  throw new Error(`job ${ref.batch}.${ref.key} could not be cancelled; it is changed too often`)
}

/** Of a job that nobody waits for any more; one whose call is under way goes on. */
export async function cancelGivenUp(context: Context, ref: JobRef): Promise<JobCancelled> {
  return cancelJob(context, ref, 'its turn came when nobody waited for its answer any more')
}
