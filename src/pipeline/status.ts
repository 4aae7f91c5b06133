import { newLedger, spacingMs, startsLastMinute, type Ledger } from '../core/budget.ts'
import { jobCounts, ratePerMinute, type Counters, type JobCounts } from '../core/counters.ts'
import { estimateFinishAt, estimateStartAt, outlook } from '../core/estimate.ts'
import type { Flow } from '../core/fairness.ts'
import type { Job } from '../core/job.ts'
import { limits } from '../core/limits.ts'
import type { ImageContent, JobRef, Pool, Versioned } from '../ports.ts'
import type { Darkroom } from './darkroom.ts'

export type JobStatus = { readonly job: Job; readonly estimatedStartAt: number | null }

export async function jobStatus(room: Darkroom, ref: JobRef): Promise<JobStatus | undefined> {
  const stored = await room.jobs.get(ref)
  return stored && { job: stored.job, estimatedStartAt: await estimateStart(room, stored.job) }
}

/** When the job starts; null when it has started or is done, or when nothing starts until a person acts. */
export async function estimateStart(room: Darkroom, job: Job): Promise<number | null> {
  if (job.phase.kind === 'slotted') return job.phase.slotAt
  if (job.phase.kind !== 'waiting') return null
  const { batch, key } = job
  const { dueAt } = job.phase
  const limit = limits.placeInLineMax
  const [pool, counted] = await Promise.all([
    room.budgets.read(room.pool.name),
    room.jobs.countBefore({ waiting: { batch, key, dueAt }, limit }),
  ])
  const expected = outlook(poolNow(room, pool), batch, room.clock.now())
  if (expected === undefined) return null
  const before = counted < limit ? counted : await waitingIn(room, batch)
  return Math.max(dueAt, estimateStartAt(expected, before))
}

async function waitingIn(room: Darkroom, batch: string): Promise<number> {
  const stored = await room.jobs.getBatch(batch)
  return stored === undefined ? 0 : jobCounts(stored.counters).waiting
}

export type BatchStatus = {
  readonly batch: string
  readonly createdAt: number
  readonly status: 'in_progress' | 'completed'
  readonly counts: JobCounts
  readonly counters: Counters
  readonly ratePerMinute: number
  readonly estimatedFinishAt: number | null
}

/** Reads the batch's row, its counters and the pool's budget, whatever the batch's size. */
export async function batchStatus(room: Darkroom, batch: string): Promise<BatchStatus | undefined> {
  const now = room.clock.now()
  const stored = await room.jobs.getBatch(batch)
  if (stored === undefined) return undefined
  const { counters } = stored
  const counts = jobCounts(counters)
  const isFinished = counts.waiting + counts.running === 0
  const expected = isFinished
    ? undefined
    : outlook(poolNow(room, await room.budgets.read(room.pool.name)), batch, now)
  return {
    batch,
    createdAt: stored.batch.createdAt,
    status: isFinished ? 'completed' : 'in_progress',
    counts,
    counters,
    ratePerMinute: ratePerMinute(counters, now),
    estimatedFinishAt: expected === undefined ? null : estimateFinishAt(expected, { counts, counters }, now),
  }
}

export type DeploymentStatus = {
  readonly ledger: Ledger
  readonly spacingMs: number
  readonly startsLastMinute: number
}

export type BudgetStatus = { readonly pool: string; readonly deployments: readonly DeploymentStatus[] }

export async function budgetStatus(room: Darkroom): Promise<BudgetStatus> {
  const now = room.clock.now()
  const ledgers = ledgersNow(room, await room.budgets.readLedgers(room.pool.name))
  return {
    pool: room.pool.name,
    deployments: ledgers.map((ledger) => ({
      ledger,
      spacingMs: spacingMs(ledger),
      startsLastMinute: startsLastMinute(ledger, now),
    })),
  }
}

/** The image's content; undefined when the job, or that image of it, does not exist. */
export async function imageContent(
  room: Darkroom,
  ref: JobRef,
  index: number,
): Promise<{ readonly contentType: string; readonly content: ImageContent } | undefined> {
  const stored = await room.jobs.get(ref)
  const image = stored?.job.phase.kind === 'succeeded' ? stored.job.phase.images[index] : undefined
  const content = image && (await room.images.read(image))
  return image && content && { contentType: image.contentType, content }
}

function poolNow(room: Darkroom, pool: Pool): { ledgers: readonly Ledger[]; flows: readonly Flow[] } {
  return { ledgers: ledgersNow(room, pool.ledgers), flows: pool.flows.map(({ value }) => value) }
}

/** A deployment that no tick has seen yet has the ledger its first tick will write. */
function ledgersNow(room: Darkroom, stored: readonly Versioned<Ledger>[]): readonly Ledger[] {
  return room.pool.deployments.map(
    (settings) =>
      stored.find(({ value }) => value.deployment === settings.deployment)?.value ??
      newLedger(settings, room.clock.now()),
  )
}
