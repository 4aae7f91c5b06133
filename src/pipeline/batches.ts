import { answersKept, refusedRecently } from '../core/counters.ts'
import { isAtCap, isHalted, plainTerms, type Decision } from '../core/fairness.ts'
import { type Priority } from '../core/submission.ts'
import { cancelled, unslotted, type Job } from '../core/job.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { Batch, JobRef } from '../ports.ts'
import { nudge } from './announce.ts'
import type { Darkroom } from './darkroom.ts'
import { changeFlow, type BatchRef } from './flows.ts'

/** What a person, or a rule, decides for a batch that is under way. */

export type Decided =
  | { readonly kind: 'done' }
  | { readonly kind: 'unknown-batch' }
  /** A cancelled batch stays cancelled. */
  | { readonly kind: 'cancelled-before' }

/** From here on no job of the batch gets a slot; those that hold one, or are running, go on. */
export async function pauseBatch(room: Darkroom, batch: string, reason: string): Promise<Decided> {
  return decide(room, batch, () => ({ kind: 'paused', by: 'user', reason, at: room.clock.now() }))
}

/** Refusals so far do not count any more: somebody has looked at them. */
export async function resumeBatch(room: Darkroom, batch: string, reason: string): Promise<Decided> {
  return decide(room, batch, () => ({ kind: 'resumed', by: 'user', reason, at: room.clock.now() }))
}

/**
 * Cancels what waits, and what holds a slot. When it returns no further call of the batch starts; those under way finish
 * and are kept. What goes back to wait afterwards is cancelled by the pacer.
 */
export async function cancelBatch(room: Darkroom, batch: string, reason: string): Promise<Decided> {
  const decided = await decide(room, batch, () => ({
    kind: 'cancelled',
    by: 'user',
    reason,
    at: room.clock.now(),
  }))
  if (decided.kind !== 'done') return decided
  const query = { batch, limit: limits.slotsPerTickMax, now: room.clock.now() }
  // No tick gives slots any more: what waits can only become less, and then what holds a slot.
  while ((await room.jobs.cancelQueued(query)).found > 0);
  // A job that was claimed just before its slot starts its call at most so much later.
  await room.clock.sleepUntil(room.clock.now() + timing.claimAheadMs + 2 * timing.lateMs)
  return decided
}

export type Changes = {
  readonly priority?: Priority | undefined
  /** Null takes the cap away. */
  readonly capMicroUsd?: number | null | undefined
}

/** Changes what a batch may have of its pool and of its owner's money; one that does not exist yet is opened. */
export async function changeBatch(
  room: Darkroom,
  { pool, batch }: BatchRef,
  { priority, capMicroUsd }: Changes,
): Promise<void> {
  const opened = await room.jobs.openBatch(newBatch(room, { pool, batch }))
  let isFirstCap = false
  await changeFlow(room, opened, (flow) => {
    isFirstCap = flow.capMicroUsd === null && capMicroUsd !== undefined && capMicroUsd !== null
    const isCapMoved = capMicroUsd !== undefined && capMicroUsd !== flow.capMicroUsd
    return {
      ...flow,
      priority: priority ?? flow.priority,
      capMicroUsd: capMicroUsd === undefined ? flow.capMicroUsd : capMicroUsd,
      decision: isCapMoved && isAtCap(flow) ? goesOn(room) : flow.decision,
    }
  })
  if (isFirstCap) await takeBackSlots(room, batch)
  await nudge(room, opened.pool)
}

export function newBatch(room: Darkroom, { pool, batch }: BatchRef): Batch {
  return {
    batch,
    pool,
    createdAt: room.clock.now(),
    terms: plainTerms,
  }
}

/** Slots that were given without regard to a cap are given anew under it. */
async function takeBackSlots(room: Darkroom, batch: string): Promise<void> {
  const slots = await room.jobs.overdue({
    batch,
    kind: 'slot',
    before: room.clock.now() + timing.slotLostMs,
    limit: limits.slotsPerTickMax,
  })
  await Promise.all(
    slots.map(async (ref) => {
      const before = await room.jobs.get(ref)
      const isReserved = before?.job.phase.kind === 'slotted' && before.job.phase.isReserved
      const after = before === undefined || isReserved ? undefined : unslotted(before.job)
      if (before !== undefined && after !== undefined) await room.jobs.change(before, after)
    }),
  )
}

/** Call it when a job was refused: Azure blocks a resource whose prompts are refused too often. */
export async function noticeRefusals(room: Darkroom, { pool, batch }: BatchRef): Promise<void> {
  const [stored, flow] = await Promise.all([
    room.jobs.getBatch(batch),
    room.budgets.readFlow({ pool, batch }),
  ])
  if (stored === undefined || flow === undefined || isHalted(flow.value)) return
  const isTooMany = (since: number): boolean =>
    refusedRecently(stored.counters, since) > answersKept * room.refusalShareMax
  if (!isTooMany(flow.value.refusalsFrom)) return
  await changeFlow(room, { pool, batch }, (now) => {
    if (isHalted(now) || !isTooMany(now.refusalsFrom)) return undefined
    const refused = refusedRecently(stored.counters, now.refusalsFrom)
    const reason = `${refused} of the newest ${answersKept} jobs were refused by the content policy; look at them, then resume`
    return { ...now, decision: { kind: 'paused', by: 'refusals', reason, at: room.clock.now() } }
  })
  room.log.warn('a batch is paused: too many of its jobs are refused', { batch })
}

export type JobCancelled =
  | { readonly kind: 'cancelled'; readonly job: Job }
  | { readonly kind: 'unknown-job' }
  /** It is finished, or its call is under way and will be kept. */
  | { readonly kind: 'too-late'; readonly job: Job }

/** How often another change of the same job may get in the way. */
const cancelTriesMax = 10

export async function cancelJob(room: Darkroom, ref: JobRef): Promise<JobCancelled> {
  for (let tries = 0; tries < cancelTriesMax; tries += 1) {
    const before = await room.jobs.get(ref)
    if (before === undefined) return { kind: 'unknown-job' }
    const { job } = before
    const after = cancelled(job, { finishedAt: room.clock.now() })
    if (after === undefined) {
      return job.phase.kind === 'cancelled' ? { kind: 'cancelled', job } : { kind: 'too-late', job }
    }
    const changed = await room.jobs.change(before, after)
    if (changed !== undefined) return { kind: 'cancelled', job: changed.job }
  }
  throw new Error(`job ${ref.batch}.${ref.key} could not be cancelled; it is changed too often`)
}

async function decide(room: Darkroom, batch: string, decision: () => Decision): Promise<Decided> {
  const stored = await room.jobs.readBatch(batch)
  if (stored === undefined) return { kind: 'unknown-batch' }
  let isCancelledBefore = false
  const made = decision()
  await changeFlow(room, stored, (flow) => {
    isCancelledBefore = flow.decision?.kind === 'cancelled' && made.kind !== 'cancelled'
    if (isCancelledBefore) return undefined
    const refusalsFrom = made.kind === 'resumed' ? made.at : flow.refusalsFrom
    return { ...flow, decision: made, refusalsFrom }
  })
  if (isCancelledBefore) return { kind: 'cancelled-before' }
  if (made.kind === 'resumed') await nudge(room, stored.pool)
  return { kind: 'done' }
}

function goesOn(room: Darkroom): Decision {
  return { kind: 'resumed', by: 'cap', reason: 'the cap was changed', at: room.clock.now() }
}
