import type { Caches } from './caches.ts'
import type { Capacity } from './capacity.ts'
import type { TickWatch } from './tick-watch.ts'
import type { Ledger, QuotaLimits } from '../core/budget/ledger.ts'
import type { ExpectedCost } from '../core/costs/cost.ts'
import type { OnUnknown } from '../core/jobs/failure.ts'
import type { Image, Job, Usage } from '../core/jobs/job.ts'
import type { AskedRequest } from '../core/requests/submission.ts'
import type { SubmissionParser } from '../core/requests/submission-parser.ts'
import { timing } from '../core/timing.ts'
import type { BatchList, BatchTable } from '../ports/batches.ts'
import type { BudgetTable } from '../ports/budget.ts'
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

/** What the uses of the pipeline share: the ports, the settings they go by, and what this instance knows and has in hand. */
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
  /** Aborted when this instance is asked to stop: no further call starts here. */
  readonly stopping: AbortSignal
  /** What this instance has in hand, and how much more it can take. */
  readonly capacity: Capacity
  /** What this instance knows of a pool's ticks. */
  readonly ticksOf: (pool: string) => TickWatch
  readonly caches: Caches
  /** Changes of a quota's ledger that wait for the one under way, to be written together. */
  readonly ledgerChanges: Map<string, LedgerChange[]>
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

export type LedgerChange = {
  readonly change: (ledger: Ledger) => Ledger | undefined
  readonly resolve: (ledger: Ledger | undefined) => void
  readonly reject: (reason: unknown) => void
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
  const costMicroUsd =
    job.request === null ? 0 : costsOf(context, job.pool).actualMicroUsd(job.request, usage)
  return {
    images,
    usage,
    costMicroUsd,
    requestId,
    finishedAt: isLate ? now : answeredAt,
    answeredAt: isLate ? answeredAt : undefined,
  }
}

/** Throws for a pool that the settings do not have: its calls do cost something, and nobody knows how much. */
export function costsOf({ pools }: Pick<Context, 'pools'>, name: string): Costs {
  const pool = pools.find((each) => each.name === name)
  if (pool === undefined)
    throw new Error(`pool ${name} is not in the settings, so nobody knows what its calls cost`)
  return pool.costs
}

export function poolNamed({ pools }: Context, name: string): PoolSettings | undefined {
  return pools.find((pool) => pool.name === name)
}
