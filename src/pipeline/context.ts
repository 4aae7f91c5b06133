import { neverAtWork, type AtWork } from '../core/budget/at-work.ts'
import type { Ledger, QuotaLimits } from '../core/budget/ledger.ts'
import type { Flow } from '../core/budget/fairness.ts'
import type { ExpectedCost } from '../core/costs/cost.ts'
import type { OnUnknown } from '../core/jobs/failure.ts'
import type { Image, Job, Usage } from '../core/jobs/job.ts'
import type { AskedRequest } from '../core/requests/submission.ts'
import type { SubmissionParser } from '../core/requests/submission-parser.ts'
import { timing } from '../core/timing.ts'
import type { Batch, BatchList, BatchTable } from '../ports/batches.ts'
import type { BudgetTable, Pool } from '../ports/budget.ts'
import type { FileStore } from '../ports/files.ts'
import type { Outgoing } from '../ports/outgoing.ts'
import type { UploadStore } from '../ports/uploads.ts'
import type { InputStore } from '../ports/inputs.ts'
import type { ImageModel } from '../ports/model.ts'
import type { CallFacts, ImageStore } from '../ports/images.ts'
import type { WebhookSender } from '../ports/webhooks.ts'
import type { Messages } from '../ports/messages.ts'
import type { JobTable } from '../ports/jobs.ts'
import type { Log } from '../ports/log.ts'
import type { Chance, Clock } from '../ports/clock.ts'

/** What the uses of the pipeline share: the ports, the settings they go by, and what this instance has seen. */
export type Context = {
  readonly clock: Clock
  readonly chance: Chance
  /** Names this instance. */
  readonly instance: string
  /** A name that nobody else gives. */
  readonly newId: () => string
  readonly log: Log
  readonly jobs: JobTable
  readonly batches: BatchTable
  readonly budgets: BudgetTable
  readonly messages: Messages
  readonly images: ImageStore
  readonly files: FileStore
  readonly uploads: UploadStore
  readonly batchList: BatchList
  readonly inputs: InputStore
  /** Asks the hosts of the setting INPUT_HOSTS, and no others. */
  readonly fetchInput: Outgoing
  readonly model: ImageModel
  readonly webhooks: WebhookSender
  readonly parse: SubmissionParser
  readonly poolOfModel: (model: string) => string | undefined
  /** Formats of the images that an edit may start from, in the pool. */
  readonly inputFormatsOf: (pool: string) => readonly string[]
  /** The first serves jobs that name no model. */
  readonly pools: readonly PoolSettings[]
  readonly attemptsMax: number
  readonly onUnknown: OnUnknown
  /** More refusals than this share of a batch's newest jobs pause it. */
  readonly refusalShareMax: number
  /** A batch's part of its pool beside others of its priority. */
  readonly shareOf: (batch: string) => number
  /** Whether it is a key that is no admin's: what came by the queue is none of its business. */
  readonly isTenant: (owner: string | null) => boolean
  /** An API key's part of its pool beside other keys. */
  readonly ownerWeight: (owner: string) => number
  /** Jobs that the functions host lets one instance have in hand. */
  readonly jobsAtOnce: number
  /** Aborted when this instance is asked to stop: no further call starts here. */
  readonly stopping: AbortSignal
  readonly seen: Seen
}

export type PoolSettings = {
  readonly name: string
  readonly quotas: readonly QuotaLimits[]
  readonly costs: Costs
}

/** What calls to the pool's model cost. */
export type Costs = {
  /** Of the cheapest call there is. */
  readonly leastMicroUsd: number
  upperMicroUsd(request: AskedRequest): number
  actualMicroUsd(request: AskedRequest, usage: Usage): number
  expected(request: AskedRequest): ExpectedCost
  readonly prices: { readonly model: string; readonly asOf: string; readonly source: string }
}

/**
 * What this instance knows without looking again, and until when it may rely on it. Losing it costs a few reads;
 * nothing depends on two instances knowing the same.
 */
export type Seen = {
  /** Batches that exist, once the promise is kept. */
  readonly batches: Map<string, Promise<Batch>>
  /** Since when each batch's flow is known to stand in the pool, awake, once the promise is kept. */
  readonly flows: Map<string, { readonly since: number; readonly woken: Promise<Flow> }>
  readonly ticks: Map<string, TicksSeen>
  /** Jobs in hand on this instance, held or running. */
  running: number
  /** Since when it has been at work without a rest. */
  atWork: AtWork
  /** Of the images held for edits. */
  inputBytes: number
  /** Events of webhooks under way, by the receiver's host. */
  readonly deliveries: Map<string, number>
  /** Of the large requests that are being sent to it. */
  uploadBytes: number
  /** Synchronous calls that it waits for. */
  syncCalls: number
  /** When this instance was last so full that its messages had to wait for it. */
  crowdedAt: number
  readonly ledgers: Map<string, { readonly ledger: Promise<Ledger | undefined>; readonly readAt: number }>
  /** Changes of a ledger that wait for the one under way, to be written together. */
  readonly ledgerChanges: Map<string, LedgerChange[]>
  readonly pools: Map<string, { readonly pool: Promise<Pool>; readonly readAt: number }>
}

export type LedgerChange = {
  readonly change: (ledger: Ledger) => Ledger | undefined
  readonly resolve: (ledger: Ledger | undefined) => void
  readonly reject: (reason: unknown) => void
}

export type TicksSeen = {
  /** No tick is missing before this time. */
  expectedUntil: number
  /** When it was last seen here that nobody had listened for a tick. */
  foundColdAt: number
  /** This instance has run one, or got the message of one. */
  isAwake: boolean
  /** When this instance last looked whether a tick was lost. */
  lookedAt: number
  /** The nudge under way, and the one that follows it. */
  nudge: { readonly done: Promise<void>; next: Promise<void> | undefined } | undefined
}

export function nothingSeen(): Seen {
  return {
    batches: new Map(),
    flows: new Map(),
    ticks: new Map(),
    running: 0,
    atWork: neverAtWork,
    inputBytes: 0,
    deliveries: new Map(),
    uploadBytes: 0,
    syncCalls: 0,
    crowdedAt: -Infinity,
    ledgers: new Map(),
    ledgerChanges: new Map(),
    pools: new Map(),
  }
}

export function ticksSeen({ seen }: Context, pool: string): TicksSeen {
  const known = seen.ticks.get(pool) ?? {
    expectedUntil: 0,
    foundColdAt: -Infinity,
    isAwake: false,
    lookedAt: 0,
    nudge: undefined,
  }
  seen.ticks.set(pool, known)
  return known
}

/**
 * What a job that was answered counts. An answer that is found long after it came finishes its job now: who follows a
 * batch looks for what finished in the last minutes, and would miss a row further back.
 */
export function answered(
  context: Context,
  job: Job,
  { images, facts }: { readonly images: readonly Image[]; readonly facts: CallFacts },
): {
  images: readonly Image[]
  usage: Usage
  costMicroUsd: number
  requestId: string | undefined
  finishedAt: number
  answeredAt: number | undefined
} {
  const { usage, requestId, finishedAt: answeredAt } = facts
  const now = context.clock.now()
  const isLate = now - answeredAt > timing.foundLateMs
  const costs = poolNamed(context, job.pool)?.costs
  const costMicroUsd = job.request === null ? 0 : (costs?.actualMicroUsd(job.request, usage) ?? 0)
  return {
    images,
    usage,
    costMicroUsd,
    requestId,
    finishedAt: isLate ? now : answeredAt,
    answeredAt: isLate ? answeredAt : undefined,
  }
}

export function poolNamed({ pools }: Context, name: string): PoolSettings | undefined {
  return pools.find((pool) => pool.name === name)
}
