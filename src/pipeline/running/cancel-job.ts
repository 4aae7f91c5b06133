import type { Job } from '../../core/jobs/job.ts'
import { cancelled } from '../../core/jobs/transitions.ts'
import type { Context } from '../context.ts'
import type { JobRef } from '../../ports/jobs.ts'
import { changeJob } from '../jobs/change-job.ts'

export type JobCancelled =
  | { readonly kind: 'cancelled'; readonly job: Job }
  | { readonly kind: 'unknown-job' }
  /** It is finished, or its call is under way and will be kept. */
  | { readonly kind: 'too-late'; readonly job: Job }

/** How often another change of the same job may get in the way. */
const cancelTriesMax = 10

/** `reason`: why, where it was not a person who cancelled it. */
export async function cancelJob(context: Context, ref: JobRef, reason?: string): Promise<JobCancelled> {
  const { clock } = context
  const next = (job: Job) => cancelled(job, { finishedAt: clock.now(), reason })
  const change = await changeJob(context, ref, next, { triesMax: cancelTriesMax })
  switch (change.kind) {
    case 'changed':
      return { kind: 'cancelled', job: change.job }
    case 'refused':
      return { kind: change.job.phase.kind === 'cancelled' ? 'cancelled' : 'too-late', job: change.job }
    case 'unknown-job':
      return change
    case 'overtaken':
      throw new Error(`job ${ref.batch}.${ref.key} could not be cancelled; it is changed too often`)
  }
}

/** Of a job that nobody waits for any more; one whose call is under way goes on. */
export async function cancelGivenUp(context: Context, ref: JobRef): Promise<JobCancelled> {
  return cancelJob(context, ref, 'its turn came when nobody waited for its answer any more')
}
