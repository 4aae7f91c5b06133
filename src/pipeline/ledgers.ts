import type { Ledger } from '../core/budget.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { Darkroom } from './darkroom.ts'

export type QuotaRef = { readonly pool: string; readonly quota: string }

/** The quota's ledger, at most a second old: many jobs on one instance share a read. */
export async function viewLedger(room: Darkroom, ref: QuotaRef): Promise<Ledger | undefined> {
  const { pool, quota } = ref
  const now = room.clock.now()
  const seen = room.seen.ledgers.get(quota)
  if (seen !== undefined && now - seen.readAt < timing.ledgerViewMs) return seen.ledger
  const stored = await room.budgets.readLedger({ pool, quota })
  room.seen.ledgers.set(quota, { ledger: stored?.value, readAt: now })
  return stored?.value
}

/**
 * Changes a ledger against what it is now. `change` answers undefined to leave it alone, and may be asked several
 * times. Answers the ledger as it stands in the end.
 */
export async function changeLedger(
  room: Darkroom,
  { pool, quota }: QuotaRef,
  change: (ledger: Ledger) => Ledger | undefined,
): Promise<Ledger | undefined> {
  for (let tries = 0; tries < limits.commitTriesMax; tries += 1) {
    const before = await room.budgets.readLedger({ pool, quota })
    if (before === undefined) return undefined
    const after = change(before.value)
    const isCommitted =
      after === undefined || (await room.budgets.changeLedger({ pool, before, after })) === 'committed'
    if (isCommitted) {
      const ledger = after ?? before.value
      room.seen.ledgers.set(quota, { ledger, readAt: room.clock.now() })
      return ledger
    }
    // Contenders spread, so that each try has fewer of them.
    await room.clock.sleepUntil(room.clock.now() + room.chance() * 10 * Math.min(tries + 1, 10))
  }
  throw new Error(
    `ledger ${quota}: no change came through in ${limits.commitTriesMax} tries; too many writers`,
  )
}
