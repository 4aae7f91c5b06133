import type { Ledger } from '../core/budget.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { Darkroom } from './darkroom.ts'

/** The deployment's ledger, at most a second old: many jobs on one instance share a read. */
export async function viewLedger(room: Darkroom, deployment: string): Promise<Ledger | undefined> {
  const now = room.clock.now()
  const seen = room.seen.ledgers.get(deployment)
  if (seen !== undefined && now - seen.readAt < timing.ledgerViewMs) return seen.ledger
  const stored = await room.budgets.readLedger({ pool: room.pool.name, deployment })
  room.seen.ledgers.set(deployment, { ledger: stored?.value, readAt: now })
  return stored?.value
}

/**
 * Changes a ledger against what it is now. `change` answers undefined to leave it alone, and may be asked several
 * times. Answers the ledger as it stands in the end.
 */
export async function changeLedger(
  room: Darkroom,
  deployment: string,
  change: (ledger: Ledger) => Ledger | undefined,
): Promise<Ledger | undefined> {
  const pool = room.pool.name
  for (let tries = 0; tries < limits.commitTriesMax; tries += 1) {
    const before = await room.budgets.readLedger({ pool, deployment })
    if (before === undefined) return undefined
    const after = change(before.value)
    const isCommitted =
      after === undefined || (await room.budgets.changeLedger({ pool, before, after })) === 'committed'
    if (isCommitted) {
      const ledger = after ?? before.value
      room.seen.ledgers.set(deployment, { ledger, readAt: room.clock.now() })
      return ledger
    }
    // Contenders spread, so that each try has fewer of them.
    await room.clock.sleepUntil(room.clock.now() + room.chance() * 10 * Math.min(tries + 1, 10))
  }
  throw new Error(
    `ledger ${deployment}: no change came through in ${limits.commitTriesMax} tries; too many writers`,
  )
}
