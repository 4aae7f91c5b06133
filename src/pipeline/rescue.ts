import { decide, failure } from '../core/failure.ts'
import { failed, retried, succeeded, unslotted, type Job } from '../core/job.ts'
import { jobId } from '../core/keys.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { JobSnapshot } from '../ports.ts'
import { announce, nudge } from './announce.ts'
import type { Darkroom } from './darkroom.ts'

export type Rescued = { readonly unslotted: number; readonly recovered: number; readonly unknown: number }

/**
 * Brings back jobs whose instance died: those whose slot has long passed, and those whose lease has ended. Every
 * unfinished batch has a flow, so the pool's flows are the batches to look at. Several instances may do this at once:
 * each job is moved by one.
 */
export async function rescue(room: Darkroom): Promise<Rescued> {
  const { flows } = await room.budgets.read(room.pool.name)
  const total = { unslotted: 0, recovered: 0, unknown: 0 }
  for (const { value } of flows.slice(0, limits.rescueBatchesMax)) {
    const rescued = await rescueBatch(room, value.batch)
    total.unslotted += rescued.unslotted
    total.recovered += rescued.recovered
    total.unknown += rescued.unknown
  }
  await nudge(room)
  return total
}

async function rescueBatch(room: Darkroom, batch: string): Promise<Rescued> {
  const now = room.clock.now()
  const limit = limits.rescueRowsMax
  const total = { unslotted: 0, recovered: 0, unknown: 0 }
  const slots = await room.jobs.overdue({ batch, kind: 'slot', before: now - timing.slotLostMs, limit })
  for (const ref of slots) {
    const before = await room.jobs.get(ref)
    if (before === undefined) continue
    const after = unslotted(before.job)
    if (after !== undefined && (await room.jobs.change(before, after)) !== undefined) total.unslotted += 1
  }
  const runs = await room.jobs.overdue({ batch, kind: 'run', before: now, limit })
  for (const ref of runs) {
    const before = await room.jobs.get(ref)
    const found = before === undefined ? undefined : await recover(room, before)
    if (found !== undefined) total[found] += 1
  }
  if (total.unslotted + total.unknown > 0) await announce(room, batch)
  return total
}

/** The call's pictures are there, or nobody knows what became of it. */
async function recover(room: Darkroom, before: JobSnapshot): Promise<'recovered' | 'unknown' | undefined> {
  const { job } = before
  const now = room.clock.now()
  // Renewed since it was looked up.
  if (job.phase.kind !== 'running' || job.phase.leaseUntil > now) return undefined
  const saved = await room.images.find(job)
  const after =
    saved === undefined
      ? ofUnknownOutcome(room, job)
      : succeeded(job, { ...saved.facts, images: saved.images })
  const changed = after && (await room.jobs.change(before, after))
  if (changed === undefined) return undefined
  room.log.warn('an instance died in a call', {
    job: jobId(job),
    attempt: job.attempts,
    hasImages: saved !== undefined,
  })
  return saved === undefined ? 'unknown' : 'recovered'
}

function ofUnknownOutcome(room: Darkroom, job: Job): Job | undefined {
  const finishedAt = room.clock.now()
  const { attempts } = job
  const decision = decide(
    'unknown',
    { attempts, attemptsMax: room.attemptsMax, onUnknown: room.onUnknown },
    room.chance(),
  )
  if (decision.kind === 'retry') {
    return retried(job, { dueAt: finishedAt + decision.delayMs, possiblyPaid: true })
  }
  const message = 'the instance died during the call; it may have been paid for, and its images are lost'
  return failed(job, { finishedAt, failure: failure('unknown', 'instance_died', message) })
}
