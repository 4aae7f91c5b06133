import { afterFailure } from '../../core/jobs/after-failure.ts'
import { failure } from '../../core/jobs/failure.ts'
import { isGivenUp, type Job } from '../../core/jobs/job.ts'
import { succeeded, unslotted } from '../../core/jobs/transitions.ts'
import { isSyncLine, jobId } from '../../core/jobs/keys.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { JobRef } from '../../ports/jobs.ts'
import { announce, nudge } from '../pacing/announce.ts'
import { answered, type Context } from '../context.ts'
import { changeJob } from '../jobs/change-job.ts'
import { cancelGivenUp } from './cancel-job.ts'

export type Rescued = {
  readonly unslotted: number
  readonly recovered: number
  readonly unknown: number
  readonly givenUp: number
}

/**
 * Brings back jobs whose instance died: those whose slot has long passed, and those whose lease has ended. Those that
 * nobody waits for any more, because the instance died that held their sender's connection, are cancelled. Every
 * unfinished batch has a flow, so the pool's flows are the batches to look at. Several instances may do this at once:
 * each job is moved by one.
 */
export async function rescue(context: Context): Promise<Rescued> {
  const total = { unslotted: 0, recovered: 0, unknown: 0, givenUp: 0 }
  const faults: unknown[] = []
  for (const { name } of context.pools) {
    faults.push(...(await rescuePool(context, name, total)))
  }
  if (faults.length > 0) throw new AggregateError(faults, `${faults.length} job(s) could not be rescued`)
  return total
}

/** Adds to the total; answers what went wrong. */
async function rescuePool(
  context: Context,
  pool: string,
  total: { -readonly [kind in keyof Rescued]: number },
): Promise<readonly unknown[]> {
  const { flows } = await context.budgets.read(pool)
  const faults: unknown[] = []
  // Where it begins changes, so that with more batches than one run takes each has its turn.
  const first = Math.floor(context.chance() * flows.length)
  for (const { value } of [...flows.slice(first), ...flows.slice(0, first)].slice(
    0,
    limits.rescueBatchesMax,
  )) {
    for (const { ref, bringBack } of await overdueJobs(context, value.batch)) {
      // One job that cannot be brought back must not keep the others.
      const [result] = await Promise.allSettled([bringBack(context, ref)])
      if (result.status === 'rejected') faults.push(result.reason)
      else if (result.value !== undefined) total[result.value] += 1
    }
  }
  // An empty pool has no ticks.
  if (flows.length > 0) await nudge(context, pool)
  return faults
}

type BringBack = (context: Context, ref: JobRef) => Promise<keyof Rescued | undefined>

async function overdueJobs(
  context: Context,
  batch: string,
): Promise<readonly { readonly ref: JobRef; readonly bringBack: BringBack }[]> {
  const now = context.clock.now()
  const limit = limits.rescueRowsMax
  const [slots, runs, stale] = await Promise.all([
    context.jobs.overdue({ batch, kind: 'slotted', before: now - timing.slotLostMs, limit }),
    context.jobs.overdue({ batch, kind: 'running', before: now, limit }),
    isSyncLine(batch) ? context.jobs.firstWaiting({ batch, limit }) : [],
  ])
  return [
    ...slots.map((ref) => ({ ref, bringBack: unslot })),
    ...runs.map((ref) => ({ ref, bringBack: recover })),
    // A row does not tell how long its job is waited for, but no sender waits longer than this.
    ...stale
      .filter(({ dueAt }) => dueAt < now - timing.syncTotalMs)
      .map((ref) => ({ ref, bringBack: giveUp })),
  ]
}

async function giveUp(context: Context, ref: JobRef): Promise<'givenUp' | undefined> {
  const stored = await context.jobs.get(ref)
  if (stored === undefined || !isGivenUp(stored.job, context.clock.now())) return undefined
  return (await cancelGivenUp(context, ref)).kind === 'cancelled' ? 'givenUp' : undefined
}

async function unslot(context: Context, ref: JobRef): Promise<'unslotted' | undefined> {
  const change = await changeJob(context, ref, unslotted)
  return change.kind === 'changed' ? 'unslotted' : undefined
}

/** The call's pictures are there, or nobody knows what became of it. */
async function recover(context: Context, ref: JobRef): Promise<'recovered' | 'unknown' | undefined> {
  const before = await context.jobs.get(ref)
  if (before === undefined) return undefined
  const { job } = before
  const now = context.clock.now()
  // Renewed since it was looked up.
  if (job.phase.kind !== 'running' || job.phase.leaseUntil > now) return undefined
  const saved = await context.images.find(job)
  const next = (each: Job) =>
    saved === undefined ? ofUnknownOutcome(context, each) : succeeded(each, answered(context, each, saved))
  const change = await changeJob(context, before, next, { isAnnouncedByCaller: true })
  if (change.kind !== 'changed') return undefined
  context.log.event('instance_died', {
    job: jobId(job),
    attempt: job.attempts,
    hasImages: saved !== undefined,
  })
  if (saved !== undefined) return 'recovered'
  await announce(context, job)
  return 'unknown'
}

function ofUnknownOutcome(context: Context, job: Job): Job | undefined {
  const message = 'the instance died during the call; it may have been paid for, and its images are lost'
  const died = failure('unknown', 'instance_died', message)
  return afterFailure(job, died, context, { now: context.clock.now(), chance: context.chance() })
}
