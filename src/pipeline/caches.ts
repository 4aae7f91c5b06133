import type { Flow } from '../core/budget/fairness.ts'
import type { Ledger } from '../core/budget/ledger.ts'
import { promiseCache, type PromiseCache } from '../core/promise-cache.ts'
import type { Batch } from '../ports/batches.ts'
import type { Pool } from '../ports/budget.ts'

/**
 * What an instance knows without looking again. Losing it costs a few reads; nothing depends on two instances knowing the
 * same.
 */
export type Caches = {
  /** Batches that exist. */
  readonly batches: PromiseCache<Batch>
  /** Flows that stand in their pool, awake. */
  readonly flows: PromiseCache<Flow>
  readonly ledgers: PromiseCache<Ledger | undefined>
  readonly pools: PromiseCache<Pool>
}

const entriesMax = 10_000

export function newCaches(): Caches {
  return {
    batches: promiseCache({ entriesMax }),
    flows: promiseCache({ entriesMax }),
    ledgers: promiseCache({ entriesMax }),
    pools: promiseCache({ entriesMax }),
  }
}
