import type { DeploymentLimits, Ledger } from '../core/budget.ts'
import type { OnUnknown } from '../core/failure.ts'
import type { SubmissionParser } from '../core/submission.ts'
import type { BudgetTable, Chance, Clock, ImageModel, ImageStore, JobTable, Log, Messages } from '../ports.ts'

/** What the uses of the pipeline share: the ports, the settings they go by, and what this instance has seen. */
export type Darkroom = {
  readonly clock: Clock
  readonly chance: Chance
  /** A name that nobody else gives. */
  readonly newId: () => string
  readonly log: Log
  readonly jobs: JobTable
  readonly budgets: BudgetTable
  readonly messages: Messages
  readonly images: ImageStore
  readonly model: ImageModel
  readonly parse: SubmissionParser
  readonly pool: PoolSettings
  readonly attemptsMax: number
  readonly onUnknown: OnUnknown
  /** Jobs that the functions host lets one instance have in hand. */
  readonly jobsAtOnce: number
  /** Aborted when this instance is asked to stop: no further call starts here. */
  readonly stopping: AbortSignal
  readonly seen: Seen
}

export type PoolSettings = { readonly name: string; readonly deployments: readonly DeploymentLimits[] }

/**
 * What this instance knows without looking again, and until when it may rely on it. Losing it costs a few reads;
 * nothing depends on two instances knowing the same.
 */
export type Seen = {
  /** Batches that exist, once the promise is kept. */
  readonly batches: Map<string, Promise<boolean>>
  /** Since when each batch's flow is known to stand in the pool, awake, once the promise is kept. */
  readonly flows: Map<string, { readonly since: number; readonly woken: Promise<void> }>
  /** No tick is missing before this time. */
  tickExpectedUntil: number
  /** When this instance last looked whether a tick was lost. */
  tickLookedAt: number
  /** The nudge under way, and the one that follows it. */
  nudge: { readonly done: Promise<void>; next: Promise<void> | undefined } | undefined
  /** Jobs in hand on this instance, held or running. */
  running: number
  readonly ledgers: Map<string, { readonly ledger: Promise<Ledger | undefined>; readonly readAt: number }>
  /** Changes of a deployment's ledger that wait for the one under way, to be written together. */
  readonly ledgerChanges: Map<string, LedgerChange[]>
}

export type LedgerChange = {
  readonly change: (ledger: Ledger) => Ledger | undefined
  readonly resolve: (ledger: Ledger | undefined) => void
  readonly reject: (reason: unknown) => void
}

export function nothingSeen(): Seen {
  return {
    batches: new Map(),
    flows: new Map(),
    tickExpectedUntil: 0,
    tickLookedAt: 0,
    nudge: undefined,
    running: 0,
    ledgers: new Map(),
    ledgerChanges: new Map(),
  }
}
