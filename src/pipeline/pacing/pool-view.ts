import { newLedger, underSettings, type Ledger } from '../../core/budget/ledger.ts'
import { isHalted, newFlow, withShares, type Flow } from '../../core/budget/fairness.ts'
import type { Batch, Versioned } from '../../ports.ts'
import { poolNamed, type Darkroom } from '../darkroom.ts'
import type { BatchRef } from './flows.ts'

/** How old the picture of a pool may be from which estimates are made. */
const poolViewMs = 2_000

type PoolView = { readonly ledgers: readonly Ledger[]; readonly flows: readonly Flow[] }

/** All flows of the pool are read for an estimate, so polls that come close together share one reading. */
export async function viewPool(room: Darkroom, name: string): Promise<PoolView> {
  const now = room.clock.now()
  const seen = room.seen.pools.get(name)
  const isFresh = seen !== undefined && now - seen.readAt < poolViewMs
  const reading = isFresh ? seen.pool : room.budgets.read(name)
  if (!isFresh) {
    room.seen.pools.set(name, { pool: reading, readAt: now })
    reading.catch(() => room.seen.pools.delete(name))
  }
  const pool = await reading
  return {
    ledgers: ledgersNow(room, name, pool.ledgers),
    flows: sharedOut(
      room,
      pool.flows.map(({ value }) => value),
    ),
  }
}

/** A deployment that no tick has seen yet has the ledger its first tick will write. */
export function ledgersNow(
  room: Darkroom,
  pool: string,
  stored: readonly Versioned<Ledger>[],
): readonly Ledger[] {
  const quotas = poolNamed(room, pool)?.quotas ?? []
  return quotas.map((quota) => {
    const found = stored.find(({ value }) => value.quota === quota.quota)
    return found === undefined ? newLedger(quota, room.clock.now()) : underSettings(found.value, quota)
  })
}

/** What was decided a moment ago is seen at once; a batch without a flow has one as it would be made. */
export async function flowOf(
  room: Darkroom,
  { pool, batch }: BatchRef,
  known?: Partial<Pick<Batch, 'terms' | 'owner'>>,
): Promise<Flow> {
  const stored = await room.budgets.readFlow({ pool, batch })
  const flow = stored?.value ?? newFlow(batch, { share: room.shareOf(batch), ...known })
  // The stored share is as old as the last slot; who else of its owner is awake shows in the pool.
  if (flow.owner === null) return flow
  const { flows } = await viewPool(room, pool)
  const others = flows.filter((other) => other.batch !== batch)
  return sharedOut(room, [flow, ...others])[0] ?? flow
}

function sharedOut(room: Darkroom, flows: readonly Flow[]): readonly Flow[] {
  const { shareOf, ownerWeight } = room
  return withShares(flows, {
    shareOf,
    ownerWeight,
    isAwake: (flow) => flow.idleSince === null && !isHalted(flow),
  })
}
