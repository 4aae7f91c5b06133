import { isSubmitted } from '../../core/timed-id.ts'
import { jobCounts, noCounters } from '../../core/jobs/counters.ts'
import type { Decision } from '../../core/budget/fairness.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import { nudge } from '../pacing/announce.ts'
import type { Context } from '../context.ts'
import { changeFlow } from '../pacing/flows.ts'
import { tellBatchEnd } from '../webhooks/webhooks.ts'
import { recall } from './recall.ts'

/** What a person, or a rule, decides for a batch that is under way. */

export type Decided =
  | { readonly kind: 'done' }
  | { readonly kind: 'unknown-batch' }
  /** Its file is being checked: where it belongs is not known yet. */
  | { readonly kind: 'being-checked' }
  /** A cancelled batch stays cancelled. */
  | { readonly kind: 'cancelled-before' }
  /** Nothing is left to cancel. */
  | { readonly kind: 'finished-before' }

/** From here on no job of the batch gets a slot; those that hold one, or are running, go on. */
export async function pauseBatch(context: Context, batch: string, reason: string): Promise<Decided> {
  return decide(context, batch, () => ({ kind: 'paused', by: 'user', reason, at: context.clock.now() }))
}

/** Refusals so far do not count any more: somebody has looked at them. */
export async function resumeBatch(context: Context, batch: string, reason: string): Promise<Decided> {
  return decide(context, batch, () => ({ kind: 'resumed', by: 'user', reason, at: context.clock.now() }))
}

/**
 * Cancels what waits, and what holds a slot. When it returns no further call of the batch starts; those under way finish
 * and are kept. Of very many jobs the pacer cancels the rest, and what goes back to wait.
 */
export async function cancelBatch(context: Context, batch: string, reason: string): Promise<Decided> {
  const { clock } = context
  const at = clock.now()
  if (await isStoppedUnchecked(context, { batch, reason })) return { kind: 'done' }
  const decided = await decide(context, batch, () => ({ kind: 'cancelled', by: 'user', reason, at }))
  if (decided.kind !== 'done') return decided
  const stored = await context.batches.readBatch(batch)
  const pool = stored?.pool ?? ''
  await Promise.all([recall(context, { pool, batch }), sweep(context, batch, at + timing.cancelWaitMs)])
  await nudge(context, pool)
  if (isSubmitted(batch)) await context.messages.sendBatchTask({ task: 'finalise', batch }, clock.now())
  return decided
}

/** A batch whose file is still being checked ends here: none of its lines is a job, and none becomes one. */
async function isStoppedUnchecked(
  context: Context,
  { batch, reason }: { readonly batch: string; readonly reason: string },
): Promise<boolean> {
  const before = isSubmitted(batch) ? await context.batches.readBatch(batch) : undefined
  if (before?.progress?.kind !== 'validating') return false
  const now = context.clock.now()
  const decision = { kind: 'cancelled', by: 'user', reason, at: now } as const
  // First: should its lines become jobs after all, their flow begins with this decision.
  await context.batches.saveTerms(batch, { ...before.terms, decision })
  const noFiles = { outputFileId: null, errorFileId: null }
  let isStopped = false
  await context.batches.changeBatch(batch, (stored) => {
    isStopped = stored.progress?.kind === 'validating'
    const none = { total: 0, ...noFiles }
    const times = { validatedAt: now, finalizingAt: now, finishedAt: now }
    return isStopped ? { ...stored, progress: { kind: 'finished', ...none, ...times } } : undefined
  })
  const counts = jobCounts(noCounters)
  if (isStopped) await tellBatchEnd(context, { batch, status: 'cancelled', endedAt: now, ...noFiles, counts })
  return isStopped
}

async function sweep(context: Context, batch: string, until: number): Promise<void> {
  const { clock } = context
  let found = 1
  while (found > 0 && clock.now() < until) {
    const query = { batch, limit: limits.cancelRowsMax, now: clock.now() }
    found = (await context.jobs.cancelQueued(query)).found
  }
}

async function decide(context: Context, batch: string, decision: () => Decision): Promise<Decided> {
  const stored = await context.batches.getBatch(batch)
  if (stored === undefined) return { kind: 'unknown-batch' }
  let isCancelledBefore = false
  const made = decision()
  const { waiting, running } = jobCounts(stored.counters)
  const { progress } = stored.batch
  if (progress?.kind === 'validating') return { kind: 'being-checked' }
  if (progress?.kind === 'failed') return { kind: 'finished-before' }
  const isOver = progress === null || progress.kind === 'finished'
  if (made.kind === 'cancelled' && waiting + running === 0 && isOver) {
    const flow = await context.budgets.readFlow(stored.batch)
    const { decision: last } = flow?.value ?? stored.batch.terms
    return last?.kind === 'cancelled' ? { kind: 'done' } : { kind: 'finished-before' }
  }
  await changeFlow(context, stored.batch, (flow) => {
    const isCancelled = flow.decision?.kind === 'cancelled'
    isCancelledBefore = isCancelled && made.kind !== 'cancelled'
    // Cancelled again: the first reason stands.
    if (isCancelled) return undefined
    const refusalsFrom = made.kind === 'resumed' ? made.at : flow.refusalsFrom
    return { ...flow, decision: made, refusalsFrom }
  })
  if (isCancelledBefore) return { kind: 'cancelled-before' }
  if (made.kind === 'resumed') await nudge(context, stored.batch.pool)
  return { kind: 'done' }
}
