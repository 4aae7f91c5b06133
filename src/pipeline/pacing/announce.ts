import type { Flow } from '../../core/budget/fairness.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import { poolNamed, type Context } from '../context.ts'
import { changeFlow, type BatchRef } from './flows.ts'
import { runTickNow, trustedUntil } from './pacer.ts'

/**
 * Tells the pacer that a batch has a job waiting: call it after the job was written, and again when its message comes
 * a second time. The flow is only looked at when it was not seen for a while; the pacer takes a flow out only when it
 * was empty for much longer than that, so a job cannot slip between the two.
 */
export async function announce(context: Context, ref: BatchRef): Promise<void> {
  await wake(context, ref)
  await nudge(context, ref.pool)
}

/**
 * Sees to it that the batch's flow stands in the pool, awake; answers it as it stood `knownMs` ago at most, by default
 * some moments.
 */
export async function wake(
  context: Context,
  { pool, batch }: BatchRef,
  knownMs: number = timing.flowKnownMs,
): Promise<Flow> {
  const woken = async (): Promise<Flow> =>
    changeFlow(context, { pool, batch }, (flow) =>
      flow.idleSince === null ? undefined : { ...flow, idleSince: null },
    )
  return context.caches.flows.get(batch, woken, { now: context.clock.now(), maxAgeMs: knownMs })
}

/**
 * Runs the tick when none is due soon, or when the one that is due does not come. Everyone who notices may call it:
 * of several ticks one lives. Calls that come while a nudge is under way share the one after it.
 */
export async function nudge(context: Context, pool: string): Promise<void> {
  // What waits in a pool that is not configured waits until it is again.
  if (poolNamed(context, pool) === undefined) return
  return context.ticksOf(pool).share(async () => nudgeOnce(context, pool))
}

/** For who has nothing to announce: looks now and then whether the tick that was due has come. */
export async function noticeLostTick(context: Context, pool: string): Promise<void> {
  const now = context.clock.now()
  if (!context.ticksOf(pool).shouldLook(now)) return
  const tick = await context.budgets.readTick(pool)
  const dueAt = tick?.dueAt ?? null
  if (dueAt !== null && now >= dueAt + timing.tickOverdueMs) await nudge(context, pool)
}

async function nudgeOnce(context: Context, pool: string): Promise<void> {
  const ticks = context.ticksOf(pool)
  // Nobody runs a tick before it is due, so one that is known to be due will see all that was written until then.
  if (ticks.isExpected(context.clock.now())) return
  for (let tries = 0; tries < limits.commitTriesMax; tries += 1) {
    const now = context.clock.now()
    const tick = await context.budgets.readTick(pool)
    const dueAt = tick?.dueAt ?? null
    const until = tick === undefined ? 0 : trustedUntil(tick, now)
    // One that is due may be under way, and have looked before this job was written: of it and ours one lives.
    if (now < until) {
      ticks.expectUntil(until)
      return
    }
    if (dueAt !== null && now >= dueAt + timing.tickOverdueMs) {
      context.log.event('tick_overdue', { pool, lateMs: now - dueAt })
    }
    if ((await runTickNow(context, { pool, epoch: tick?.epoch ?? 0 })) === 'ticked') return
  }
  throw new Error(`pool ${pool}: every tick was run by somebody else, and none is to come`)
}
