import { decide, failure } from '../../core/jobs/failure.ts'
import { failed, isGivenUp, retried, succeeded, unslotted, type Job } from '../../core/jobs/job.ts'
import { isSyncLine, jobId } from '../../core/jobs/keys.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { JobRef } from '../../ports.ts'
import { announce, nudge } from '../pacing/announce.ts'
import { answered, type Darkroom } from '../darkroom.ts'
import { tellJobEnd } from '../webhooks/webhooks.ts'
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
export async function rescue(room: Darkroom): Promise<Rescued> {
  const total = { unslotted: 0, recovered: 0, unknown: 0, givenUp: 0 }
  const faults: unknown[] = []
  for (const { name } of room.pools) {
    faults.push(...(await rescuePool(room, name, total)))
  }
  if (faults.length > 0) throw new AggregateError(faults, `${faults.length} job(s) could not be rescued`)
  return total
}

/** Adds to the total; answers what went wrong. */
async function rescuePool(
  room: Darkroom,
  pool: string,
  total: { -readonly [kind in keyof Rescued]: number },
): Promise<readonly unknown[]> {
  const { flows } = await room.budgets.read(pool)
  const faults: unknown[] = []
  // Where it begins changes, so that with more batches than one run takes each has its turn.
  const first = Math.floor(room.chance() * flows.length)
  for (const { value } of [...flows.slice(first), ...flows.slice(0, first)].slice(
    0,
    limits.rescueBatchesMax,
  )) {
    for (const { ref, bringBack } of await overdueJobs(room, value.batch)) {
      // One job that cannot be brought back must not keep the others.
      const [result] = await Promise.allSettled([bringBack(room, ref)])
      if (result.status === 'rejected') faults.push(result.reason)
      else if (result.value !== undefined) total[result.value] += 1
    }
  }
  // An empty pool has no ticks.
  if (flows.length > 0) await nudge(room, pool)
  return faults
}

type BringBack = (room: Darkroom, ref: JobRef) => Promise<keyof Rescued | undefined>

async function overdueJobs(
  room: Darkroom,
  batch: string,
): Promise<readonly { readonly ref: JobRef; readonly bringBack: BringBack }[]> {
  const now = room.clock.now()
  const limit = limits.rescueRowsMax
  const [slots, runs, stale] = await Promise.all([
    room.jobs.overdue({ batch, kind: 'slot', before: now - timing.slotLostMs, limit }),
    room.jobs.overdue({ batch, kind: 'run', before: now, limit }),
    isSyncLine(batch) ? room.jobs.firstWaiting({ batch, limit }) : [],
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

async function giveUp(room: Darkroom, ref: JobRef): Promise<'givenUp' | undefined> {
  const stored = await room.jobs.get(ref)
  if (stored === undefined || !isGivenUp(stored.job, room.clock.now())) return undefined
  return (await cancelGivenUp(room, ref)).kind === 'cancelled' ? 'givenUp' : undefined
}

async function unslot(room: Darkroom, ref: JobRef): Promise<'unslotted' | undefined> {
  const before = await room.jobs.get(ref)
  const after = before && unslotted(before.job)
  if (before === undefined || after === undefined) return undefined
  if ((await room.jobs.change(before, after)) === undefined) return undefined
  await announce(room, after)
  return 'unslotted'
}

/** The call's pictures are there, or nobody knows what became of it. */
async function recover(room: Darkroom, ref: JobRef): Promise<'recovered' | 'unknown' | undefined> {
  const before = await room.jobs.get(ref)
  if (before === undefined) return undefined
  const { job } = before
  const now = room.clock.now()
  // Renewed since it was looked up.
  if (job.phase.kind !== 'running' || job.phase.leaseUntil > now) return undefined
  const saved = await room.images.find(job)
  const after = saved === undefined ? ofUnknownOutcome(room, job) : succeeded(job, answered(room, job, saved))
  if (after !== undefined) await tellJobEnd(room, after)
  const changed = after && (await room.jobs.change(before, after))
  if (changed === undefined) return undefined
  room.log.event('instance_died', {
    job: jobId(job),
    attempt: job.attempts,
    hasImages: saved !== undefined,
  })
  if (saved !== undefined) return 'recovered'
  await announce(room, job)
  return 'unknown'
}

function ofUnknownOutcome(room: Darkroom, job: Job): Job | undefined {
  const finishedAt = room.clock.now()
  const { attempts, attemptsForgiven, onUnknown } = job
  const decision = decide(
    'unknown',
    {
      attempts: attempts - attemptsForgiven,
      attemptsMax: room.attemptsMax,
      onUnknown: onUnknown ?? room.onUnknown,
    },
    room.chance(),
  )
  if (decision.kind === 'retry') {
    return retried(job, { dueAt: finishedAt + decision.delayMs, possiblyPaid: true })
  }
  const message = 'the instance died during the call; it may have been paid for, and its images are lost'
  return failed(job, { finishedAt, failure: failure('unknown', 'instance_died', message) })
}
