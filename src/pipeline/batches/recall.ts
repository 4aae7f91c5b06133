import { withRecall } from '../../core/budget/ledger.ts'
import { timing } from '../../core/timing.ts'
import { poolNamed, type Context } from '../context.ts'
import type { BatchRef } from '../pacing/flows.ts'
import { changeLedger } from '../pacing/ledgers.ts'

/**
 * Takes back slots that were given, and those that a tick under way is still giving: a later tick that serves the batch
 * has seen what was decided, because its commit compares the batch's flow. Each worker looks at the ledger again within
 * the time that this takes, and one that has looked before starts at its slot by then, or never.
 */
export async function recall(context: Context, { pool, batch }: BatchRef): Promise<void> {
  const { clock } = context
  const tick = await context.budgets.readTick(pool)
  const recalled = { batch, epoch: tick?.epoch ?? 0, at: clock.now() }
  const quotas = poolNamed(context, pool)?.quotas ?? []
  await Promise.all(
    quotas.map(async ({ quota }) =>
      changeLedger(context, { pool, quota }, (ledger) => withRecall(ledger, recalled)),
    ),
  )
  await clock.sleepUntil(clock.now() + timing.ledgerViewMs + timing.claimAheadMs + 2 * timing.lateMs)
}
