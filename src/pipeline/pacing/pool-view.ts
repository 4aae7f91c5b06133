import { newLedger, underSettings, type Ledger } from '../../core/budget/ledger.ts'
import { isHalted, newFlow, withShares, type Flow } from '../../core/budget/fairness.ts'
import type { Batch } from '../../ports/batches.ts'
import type { Versioned } from '../../ports/budget.ts'
import { poolNamed, type Context } from '../context.ts'
import type { BatchRef } from './flows.ts'

/** How old the picture of a pool may be from which estimates are made. */
const poolViewMs = 2_000

type PoolView = { readonly ledgers: readonly Ledger[]; readonly flows: readonly Flow[] }

/** All flows of the pool are read for an estimate, so polls that come close together share one reading. */
export async function viewPool(context: Context, name: string): Promise<PoolView> {
  const fresh = { now: context.clock.now(), maxAgeMs: poolViewMs }
  const pool = await context.caches.pools.get(name, async () => context.budgets.read(name), fresh)
  return {
    ledgers: ledgersNow(context, name, pool.ledgers),
    flows: sharedOut(
      context,
      pool.flows.map(({ value }) => value),
    ),
  }
}

/** A deployment that no tick has seen yet has the ledger its first tick will write. */
export function ledgersNow(
  context: Context,
  pool: string,
  stored: readonly Versioned<Ledger>[],
): readonly Ledger[] {
  const quotas = poolNamed(context, pool)?.quotas ?? []
  return quotas.map((quota) => {
    const found = stored.find(({ value }) => value.quota === quota.quota)
    return found === undefined ? newLedger(quota, context.clock.now()) : underSettings(found.value, quota)
  })
}

/** What was decided a moment ago is seen at once; a batch without a flow has one as it would be made. */
export async function flowOf(
  context: Context,
  { pool, batch }: BatchRef,
  known?: Partial<Pick<Batch, 'terms' | 'owner'>>,
): Promise<Flow> {
  const stored = await context.budgets.readFlow({ pool, batch })
  const flow = stored?.value ?? newFlow(batch, { share: context.shareOf(batch), ...known })
  // The stored share is as old as the last slot; who else of its owner is awake shows in the pool.
  if (flow.owner === null) return flow
  const { flows } = await viewPool(context, pool)
  const others = flows.filter((other) => other.batch !== batch)
  return sharedOut(context, [flow, ...others])[0] ?? flow
}

function sharedOut(context: Context, flows: readonly Flow[]): readonly Flow[] {
  const { shareOf, ownerWeight } = context
  return withShares(flows, {
    shareOf,
    ownerWeight,
    isAwake: (flow) => flow.idleSince === null && !isHalted(flow),
  })
}
