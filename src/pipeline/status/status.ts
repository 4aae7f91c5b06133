import type { BatchOrder } from '../../core/batches/batch-order.ts'
import {
  batchState,
  countsOfLines,
  type BatchProgress,
  type BatchState,
} from '../../core/batches/batch-progress.ts'
import type { Member } from '../../core/budget/breaker.ts'
import { spacingMs, startsLastMinute, type Ledger } from '../../core/budget/ledger.ts'
import {
  jobCounts,
  noCounters,
  ratePerMinute,
  type Counters,
  type JobCounts,
} from '../../core/jobs/counters.ts'
import { estimateFinishAt, estimateStartAt, outlook } from '../../core/budget/estimate.ts'
import { isHalted, termsOf, type Terms } from '../../core/budget/fairness.ts'
import type { Image, Job } from '../../core/jobs/job.ts'
import { limits } from '../../core/limits.ts'
import type { Batch } from '../../ports/batches.ts'
import type { JobRef } from '../../ports/jobs.ts'
import type { Context } from '../context.ts'
import { flowOf, ledgersNow, viewPool } from '../pacing/pool-view.ts'

type JobStatus = { readonly job: Job; readonly estimatedStartAt: number | null }

export async function jobStatus(context: Context, ref: JobRef): Promise<JobStatus | undefined> {
  const stored = await context.jobs.get(ref)
  return stored && { job: stored.job, estimatedStartAt: await estimateStart(context, stored.job) }
}

/** When the job starts; null when it has started or is done, or when nothing starts until a person acts. */
export async function estimateStart(context: Context, job: Job): Promise<number | null> {
  if (job.phase.kind === 'slotted') return job.phase.slotAt
  if (job.phase.kind !== 'waiting') return null
  const { batch, priority, upperMicroUsd } = job
  const { dueAt } = job.phase
  const limit = limits.placeInLineMax
  const waiting = { batch, key: job.key, priority, dueAt, upperMicroUsd }
  const [pool, flow, counted] = await Promise.all([
    viewPool(context, job.pool),
    flowOf(context, job),
    context.jobs.countBefore({ waiting, limit }),
  ])
  const expected = isHalted(flow) ? undefined : outlook(pool, batch, context.clock.now())
  if (expected === undefined) return null
  const before = counted < limit ? counted : await waitingIn(context, batch)
  return Math.max(dueAt, estimateStartAt(expected, { flow, priority, before }))
}

async function waitingIn(context: Context, batch: string): Promise<number> {
  const stored = await context.batches.getBatch(batch)
  return stored === undefined ? 0 : jobCounts(stored.counters).waiting
}

export type BatchStatus = {
  readonly batch: string
  readonly pool: string
  readonly createdAt: number
  readonly owner: string | null
  readonly order: BatchOrder | null
  readonly progress: BatchProgress | null
  readonly status: BatchState
  readonly terms: Terms
  readonly counts: JobCounts
  readonly counters: Counters
  readonly ratePerMinute: number
  readonly estimatedFinishAt: number | null
}

/** A batch that was submitted a moment ago, without a look at anything. */
export function newBatchStatus({
  batch,
  pool,
  createdAt,
  owner,
  order,
  progress,
  terms,
}: Batch): BatchStatus {
  const counts = jobCounts(noCounters)
  return {
    batch,
    pool,
    createdAt,
    owner,
    order,
    progress,
    status: batchState(progress, { decision: terms.decision, counts }),
    terms,
    counts,
    counters: noCounters,
    ratePerMinute: 0,
    estimatedFinishAt: null,
  }
}

/** Reads the batch's row, its counters and its flow, whatever the batch's size. */
export async function batchStatus(context: Context, batch: string): Promise<BatchStatus | undefined> {
  const now = context.clock.now()
  const stored = await context.batches.getBatch(batch)
  if (stored === undefined) return undefined
  const { counters } = stored
  const { pool, createdAt } = stored.batch
  const { owner, order, progress } = stored.batch
  const flow = await flowOf(context, { pool, batch }, stored.batch)
  const counts = countsOfLines(jobCounts(counters), { progress, decision: flow.decision })
  const isFinished = counts.waiting + counts.running === 0
  const expected =
    isFinished || (isHalted(flow) && counts.waiting > 0)
      ? undefined
      : outlook(await viewPool(context, pool), batch, now)
  return {
    batch,
    pool,
    createdAt,
    owner,
    order,
    progress,
    status: batchState(progress, { decision: flow.decision, counts }),
    terms: termsOf(flow),
    counts,
    counters,
    ratePerMinute: ratePerMinute(counters, now),
    estimatedFinishAt:
      expected === undefined ? null : estimateFinishAt(expected, { flow, counts, counters }, now),
  }
}

export type DeploymentStatus = {
  readonly pool: string
  readonly ledger: Ledger
  readonly member: Member
  readonly spacingMs: number
  readonly startsLastMinute: number
}

export async function budgetStatus(context: Context): Promise<readonly DeploymentStatus[]> {
  const now = context.clock.now()
  const pools = await Promise.all(
    context.pools.map(async ({ name }) => {
      const ledgers = ledgersNow(context, name, await context.budgets.readLedgers(name))
      return ledgers.flatMap((ledger) =>
        ledger.deployments.map((member) => ({
          pool: name,
          ledger,
          member,
          spacingMs: spacingMs(ledger),
          startsLastMinute: startsLastMinute(ledger, now),
        })),
      )
    }),
  )
  return pools.flat()
}

/** Undefined when the job, or that image of it, does not exist. */
export async function imageOfJob(context: Context, ref: JobRef, index: number): Promise<Image | undefined> {
  const stored = await context.jobs.get(ref)
  return stored?.job.phase.kind === 'succeeded' ? stored.job.phase.images[index] : undefined
}
