import type { Ledger } from '../core/budget/ledger.ts'
import type { Flow } from '../core/budget/fairness.ts'

/** When a pool's next tick is due; `epoch` counts ticks, so that of two only one lives. */
export type TickState = {
  readonly epoch: number
  readonly dueAt: number | null
  /** The tick left slots within its horizon: a job that comes may start before the next one. */
  readonly hasRoom: boolean
  readonly virtualTime: number
  /** Who ran it, and since when nobody else has run one: all starts are then made by one clock. */
  readonly instance: string
  readonly aloneSince: number
  /** Tells whose commit it was, when its answer was lost. */
  readonly mark: string
}

/** A pool's rows, each as it stood when it was read. */
export type Pool = {
  readonly ledgers: readonly Versioned<Ledger>[]
  readonly flows: readonly Versioned<Flow>[]
  readonly tick: Versioned<TickState> | undefined
}

export type Versioned<T> = { readonly value: T; readonly version: string }

export type PoolChange = {
  readonly pool: string
  /** `before` undefined: the row is new. */
  readonly ledgers: readonly { readonly before: Versioned<Ledger> | undefined; readonly after: Ledger }[]
  readonly flows: readonly { readonly before: Versioned<Flow>; readonly after: Flow }[]
  readonly tick: { readonly before: Versioned<TickState> | undefined; readonly after: TickState }
}

/** The budgets of pools. All changes compare and set. */
export type BudgetTable = {
  read(pool: string): Promise<Pool>
  readLedgers(pool: string): Promise<readonly Versioned<Ledger>[]>
  /** All or nothing; `conflict` when any of the rows was changed since it was read. */
  commit(change: PoolChange): Promise<'committed' | 'conflict'>
  readTick(pool: string): Promise<TickState | undefined>
  readLedger(ref: { pool: string; quota: string }): Promise<Versioned<Ledger> | undefined>
  changeLedger(change: {
    pool: string
    before: Versioned<Ledger>
    after: Ledger
  }): Promise<'committed' | 'conflict'>
  readFlow(ref: { pool: string; batch: string }): Promise<Versioned<Flow> | undefined>
  /**
   * Changes a batch's flow against what it is now, or what `fresh` makes when it has none. `change` answers undefined to
   * leave it alone, and may be asked several times. Answers the flow as it stands in the end.
   */
  changeFlow(order: {
    pool: string
    batch: string
    fresh: () => Promise<Flow>
    change: (flow: Flow) => Flow | undefined
  }): Promise<Flow>
  /** Takes the flow out of the pool, unless it was changed since it was read. */
  removeFlow(flow: { pool: string; before: Versioned<Flow> }): Promise<void>
}
