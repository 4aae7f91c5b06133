import { isInRun, type Job } from '../../core/jobs/job.ts'
import { renewed } from '../../core/jobs/transitions.ts'
import { jobId } from '../../core/jobs/keys.ts'
import { errorCode } from '../../core/log-event.ts'
import { timing } from '../../core/timing.ts'
import type { JobSnapshot } from '../../ports/jobs.ts'
import type { Context } from '../context.ts'
import { changeJob, type JobChange } from '../jobs/change-job.ts'

/** A running job, held against the rescue for as long as its run lasts. */
export type Lease = {
  readonly job: Job
  /** The job as it was last written, or read, by this run. */
  held(): JobSnapshot
  /** Somebody else has moved the job, or the lease could not be renewed in time. */
  isLost(): boolean
  /** Stops renewing; may be called more than once. */
  end(): Promise<void>
}

/** How soon a renewal that storage did not take is tried again. */
const retryMs = 5_000

/** Renews the claimed job's lease at half of its length until it is ended. */
export function keepLease(context: Context, claim: JobSnapshot): Lease {
  const { clock } = context
  const ended = new AbortController()
  let held = claim
  let leaseUntil = claim.job.phase.kind === 'running' ? claim.job.phase.leaseUntil : 0
  let isTaken = false

  const renewing = (async () => {
    let nextAt = leaseUntil - timing.leaseMs / 2
    while (!isTaken) {
      await clock.sleepUntil(nextAt, ended.signal)
      if (ended.signal.aborted) return
      const until = clock.now() + timing.leaseMs
      try {
        const change = await changeJob(context, held, (job) => renewed(job, { leaseUntil: until }))
        // An earlier renewal, whose answer was lost, stands in the way just as a rescue does: only the job can tell.
        const renewal = change.kind === 'overtaken' ? await stillOurs(context, claim) : changedBy(change)
        if (renewal?.job.phase.kind !== 'running') isTaken = true
        else {
          held = renewal
          leaseUntil = renewal.job.phase.leaseUntil
          nextAt = leaseUntil - timing.leaseMs / 2
        }
      } catch (error) {
        context.log.event('lease_not_renewed', { job: jobId(claim.job), code: errorCode(error) })
        nextAt = clock.now() + retryMs
      }
    }
  })()

  return {
    job: claim.job,
    held: () => held,
    isLost: () => isTaken || clock.now() >= leaseUntil,
    async end() {
      ended.abort()
      await renewing
    },
  }
}

function changedBy(change: JobChange): JobSnapshot | undefined {
  return change.kind === 'changed' ? change : undefined
}

/** The job as it stands, if it is still in the run that this claim began. */
async function stillOurs(context: Context, { job }: JobSnapshot): Promise<JobSnapshot | undefined> {
  const now = await context.jobs.get(job)
  return now !== undefined && isInRun(now.job, job) ? now : undefined
}
