import type { Ledger } from '../../core/budget/ledger.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { Context, LedgerChange } from '../context.ts'

export type QuotaRef = { readonly pool: string; readonly quota: string }

/** The quota's ledger, at most a second old: many jobs on one instance share a read. */
export async function viewLedger(context: Context, ref: QuotaRef): Promise<Ledger | undefined> {
  const fresh = { now: context.clock.now(), maxAgeMs: timing.ledgerViewMs }
  return context.caches.ledgers.get(ref.quota, async () => readLedger(context, ref), fresh)
}

async function readLedger(context: Context, { pool, quota }: QuotaRef): Promise<Ledger | undefined> {
  const stored = await context.budgets.readLedger({ pool, quota })
  return stored?.value
}

/**
 * Changes a ledger against what it is now. `change` answers undefined to leave it alone, and may be asked several
 * times. Answers the ledger as it stands in the end.
 *
 * Changes that come while one is under way are written together: when a deployment refuses what a full second has
 * started, dozens of workers come at once, and would stand in each other's way.
 */
export async function changeLedger(
  context: Context,
  { pool, quota }: QuotaRef,
  change: LedgerChange['change'],
): Promise<Ledger | undefined> {
  const { ledgerChanges } = context
  return new Promise((resolve, reject) => {
    const asked: LedgerChange = { change, resolve, reject }
    const waiting = ledgerChanges.get(quota)
    if (waiting !== undefined) {
      waiting.push(asked)
      return
    }
    ledgerChanges.set(quota, [asked])
    void changeInTurn(context, { pool, quota })
  })
}

async function changeInTurn(context: Context, ref: QuotaRef): Promise<void> {
  const { ledgerChanges } = context
  for (;;) {
    const group = ledgerChanges.get(ref.quota)?.splice(0) ?? []
    if (group.length === 0) break
    try {
      const ledger = await changeTogether(context, ref, group)
      for (const { resolve } of group) resolve(ledger)
    } catch (error) {
      for (const { reject } of group) reject(error)
    }
  }
  ledgerChanges.delete(ref.quota)
}

async function changeTogether(
  context: Context,
  { pool, quota }: QuotaRef,
  group: readonly LedgerChange[],
): Promise<Ledger | undefined> {
  for (let tries = 0; tries < limits.commitTriesMax; tries += 1) {
    const before = await context.budgets.readLedger({ pool, quota })
    if (before === undefined) return undefined
    const after = group.reduce((ledger, { change }) => change(ledger) ?? ledger, before.value)
    const isCommitted =
      after === before.value || (await context.budgets.changeLedger({ pool, before, after })) === 'committed'
    if (isCommitted) {
      void context.caches.ledgers.keep(quota, Promise.resolve(after), context.clock.now())
      return after
    }
    // Contenders spread, so that each try has fewer of them.
    await context.clock.sleepUntil(context.clock.now() + context.chance() * 10 * Math.min(tries + 1, 10))
  }
  throw new Error(
    `ledger ${quota}: no change came through in ${limits.commitTriesMax} tries; too many writers`,
  )
}
