import { timing } from '../../core/timing.ts'
import type { TickState } from '../../ports/budget.ts'
import { ticksSeen, type Context } from '../context.ts'

/**
 * Whether the platform takes functions away between their messages, as far as this instance has seen: then slots are
 * given further ahead. Others may have seen something else; nothing depends on all of them knowing the same.
 */
export function isColdHere(context: Context, pool: string): boolean {
  return context.clock.now() - ticksSeen(context, pool).foundColdAt < timing.coldKnownMs
}

/**
 * A tick is run here. Where it is so late that nobody can have listened for its message, the instance that ran the last
 * one was taken away. One that ran the last one itself was there, and stood still.
 */
export function noteTick(context: Context, pool: string, due: TickState | undefined): void {
  const seen = ticksSeen(context, pool)
  const now = context.clock.now()
  const lateMs = now - (due?.dueAt ?? now)
  const isLate = lateMs >= timing.tickOverdueMs && lateMs < timing.coldLatestMs
  if (isLate && due?.instance !== context.instance) seen.foundColdAt = now
  seen.isAwake = true
}

/**
 * The message of a tick has come, and somebody else had run that. An instance that has had to do with no tick before was
 * started for this message.
 */
export function noteStaleMessage(context: Context, pool: string): void {
  const seen = ticksSeen(context, pool)
  if (!seen.isAwake) seen.foundColdAt = context.clock.now()
  seen.isAwake = true
}
