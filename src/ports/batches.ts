import type { LineFault } from '../core/batches/batch-line.ts'
import type { HookLog } from '../core/batches/webhook.ts'
import type { Counters } from '../core/jobs/counters.ts'
import type { Terms } from '../core/budget/fairness.ts'
import type { BatchOrder } from '../core/batches/batch-order.ts'
import type { BatchProgress } from '../core/batches/batch-progress.ts'

/** `terms` are those of a batch without a flow; one that has a flow has its terms there. */
export type Batch = {
  readonly batch: string
  readonly pool: string
  /** The API key that it belongs to; null: none, as what came by the queue. */
  readonly owner: string | null
  readonly createdAt: number
  readonly terms: Terms
  /** What it was submitted with, and how far it is; null: it was sent job by job. */
  readonly order: BatchOrder | null
  readonly progress: BatchProgress | null
  /** Until when somebody has its file or its results in hand; in the past: nobody. */
  readonly workedOnUntil: number
}

/** What is known of a batch beside its jobs. */
export type BatchTable = {
  /** Makes the batch known; answers it as it was opened first. */
  openBatch(batch: Batch): Promise<Batch>
  saveTerms(batch: string, terms: Terms): Promise<void>
  /**
   * Changes a batch's pool or progress against what they are now; `change` answers undefined to leave them, and may be
   * asked several times. Answers the batch as it stands in the end.
   */
  changeBatch(batch: string, change: (batch: Batch) => Batch | undefined): Promise<Batch | undefined>
  /** The faults of a batch's file, once and for all. */
  saveFaults(batch: string, faults: readonly LineFault[]): Promise<void>
  faults(batch: string): Promise<readonly LineFault[]>
  readBatch(batch: string): Promise<Batch | undefined>
  /** The newest tries of the batch's webhook; undefined before the first. */
  readHookLog(batch: string): Promise<HookLog | undefined>
  /** Where many change it at once, one of them may not be noted. */
  changeHookLog(batch: string, change: (log: HookLog) => HookLog): Promise<void>
  /** With its counters. */
  getBatch(batch: string): Promise<{ readonly batch: Batch; readonly counters: Counters } | undefined>
}

/** Batches by the time at which they were opened. */
export type BatchList = {
  /** Remembers which batch an `Idempotency-Key` of an owner stands for: the first one that was told. */
  claim(claim: {
    readonly owner: string | null
    readonly idempotencyKey: string
    readonly batch: string
  }): Promise<string>
  put(batch: Pick<Batch, 'batch' | 'owner' | 'createdAt'>): Promise<void>
  /** Names, newest first, of one key or of all; from behind a batch on. */
  page(query: {
    readonly owner: string | undefined
    readonly after?: Pick<Batch, 'batch' | 'createdAt'> | undefined
    readonly limit: number
    /** Without those that were named by their jobs. */
    readonly isSubmittedOnly: boolean
  }): Promise<{ readonly batches: readonly string[]; readonly hasMore: boolean }>
}
