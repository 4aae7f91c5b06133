import type { Ledger } from '../core/budget.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { Darkroom, LedgerChange } from './darkroom.ts'

/** The deployment's ledger, at most a second old: many jobs on one instance share a read. */
export async function viewLedger(room: Darkroom, deployment: string): Promise<Ledger | undefined> {
  const { ledgers } = room.seen
  const now = room.clock.now()
  const seen = ledgers.get(deployment)
  if (seen !== undefined && now - seen.readAt < timing.ledgerViewMs) return seen.ledger
  const ledger = readLedger(room, deployment)
  ledgers.set(deployment, { ledger, readAt: now })
  try {
    return await ledger
  } catch (error) {
    if (ledgers.get(deployment)?.ledger === ledger) ledgers.delete(deployment)
    throw error
  }
}

async function readLedger(room: Darkroom, deployment: string): Promise<Ledger | undefined> {
  const stored = await room.budgets.readLedger({ pool: room.pool.name, deployment })
  return stored?.value
}

/**
 * Changes a ledger against what it is now. `change` answers undefined to leave it alone, and may be asked several
 * times. Answers the ledger as it stands in the end.
 *
 * Changes that come while one is under way are written together: when an instance falls behind, dozens of its workers
 * want a fresh slot at once, and would stand in each other's way for longer than the slots last.
 */
export async function changeLedger(
  room: Darkroom,
  deployment: string,
  change: LedgerChange['change'],
): Promise<Ledger | undefined> {
  const { ledgerChanges } = room.seen
  return new Promise((resolve, reject) => {
    const asked: LedgerChange = { change, resolve, reject }
    const waiting = ledgerChanges.get(deployment)
    if (waiting !== undefined) {
      waiting.push(asked)
      return
    }
    ledgerChanges.set(deployment, [asked])
    void changeInTurn(room, deployment)
  })
}

async function changeInTurn(room: Darkroom, deployment: string): Promise<void> {
  const { ledgerChanges } = room.seen
  for (;;) {
    const group = ledgerChanges.get(deployment)?.splice(0) ?? []
    if (group.length === 0) break
    try {
      const ledger = await changeTogether(room, deployment, group)
      for (const { resolve } of group) resolve(ledger)
    } catch (error) {
      for (const { reject } of group) reject(error)
    }
  }
  ledgerChanges.delete(deployment)
}

async function changeTogether(
  room: Darkroom,
  deployment: string,
  group: readonly LedgerChange[],
): Promise<Ledger | undefined> {
  const pool = room.pool.name
  for (let tries = 0; tries < limits.commitTriesMax; tries += 1) {
    const before = await room.budgets.readLedger({ pool, deployment })
    if (before === undefined) return undefined
    const after = group.reduce((ledger, { change }) => change(ledger) ?? ledger, before.value)
    const isCommitted =
      after === before.value || (await room.budgets.changeLedger({ pool, before, after })) === 'committed'
    if (isCommitted) {
      room.seen.ledgers.set(deployment, { ledger: Promise.resolve(after), readAt: room.clock.now() })
      return after
    }
    // Contenders spread, so that each try has fewer of them.
    await room.clock.sleepUntil(room.clock.now() + room.chance() * 10 * Math.min(tries + 1, 10))
  }
  throw new Error(
    `ledger ${deployment}: no change came through in ${limits.commitTriesMax} tries; too many writers`,
  )
}
