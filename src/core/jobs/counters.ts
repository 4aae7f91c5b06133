import { type Bucket, recentCount, addToBucket } from '../rates.ts'
import type { Job } from './job.ts'

/**
 * What one shard of a batch's counters holds; the sum over its shards is exact. Waiting counts every queued job.
 * A single shard may be below zero: a job is counted in where it was accepted and out where it was finished.
 */
export type Counters = {
  readonly waiting: number
  readonly running: number
  readonly succeeded: number
  readonly failed: number
  readonly cancelled: number
  readonly images: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly possiblyRepeated: number
  /** What the calls that were answered with images have cost. */
  readonly spentMicroUsd: number
  /** The most that calls of unknown cost may have: those without an answer, and refused ones. */
  readonly unsureMicroUsd: number
  /** The most that calls under way, and those of jobs whose slot was charged to a cap, can cost. */
  readonly reservedMicroUsd: number
  /** Time spent in the calls that succeeded, for estimates. */
  readonly callMs: number
  readonly firstStartedAt: number | null
  readonly lastFinishedAt: number | null
  /** Jobs that succeeded or failed per bucket of `timing.rateBucketMs`, for the last minute's rate. */
  readonly finishedRecently: readonly Bucket[]
  /** The newest jobs that the model has answered for good, and how: for the share of refusals. */
  readonly answersRecently: readonly Answer[]
}

export type Answer = { readonly at: number; readonly isRefused: boolean }

export const noCounters: Counters = {
  waiting: 0,
  running: 0,
  succeeded: 0,
  failed: 0,
  cancelled: 0,
  images: 0,
  inputTokens: 0,
  outputTokens: 0,
  possiblyRepeated: 0,
  spentMicroUsd: 0,
  unsureMicroUsd: 0,
  reservedMicroUsd: 0,
  callMs: 0,
  firstStartedAt: null,
  lastFinishedAt: null,
  finishedRecently: [],
  answersRecently: [],
}

/** Numbers of jobs as a poll shows them: none below zero, and their sum is the total. */
export type JobCounts = {
  readonly total: number
  readonly waiting: number
  readonly running: number
  readonly succeeded: number
  readonly failed: number
  readonly cancelled: number
}

/** What of a job is counted. */
export type Counted = Pick<
  Job,
  'possiblyRepeated' | 'unsureMicroUsd' | 'upperMicroUsd' | 'startedAt' | 'phase'
>

/** The counters after one job changed; `before` is null for a job that was just accepted. */
export function count(counters: Counters, before: Counted | null, after: Counted): Counters {
  const was = before === null ? noCounters : countersOf(before)
  const is = countersOf(after)
  return {
    ...sum([
      counters,
      { ...is, firstStartedAt: null, lastFinishedAt: null, answersRecently: [] },
      negated(was),
    ]),
    firstStartedAt: earliest(counters.firstStartedAt, is.firstStartedAt),
    lastFinishedAt: latest(counters.lastFinishedAt, is.lastFinishedAt),
    finishedRecently: is.finishedRecently.reduce(
      (buckets, finished) => addToBucket(buckets, finished.at, finished.count),
      counters.finishedRecently,
    ),
    answersRecently: newest([...counters.answersRecently, ...is.answersRecently]),
  }
}

/**
 * The counters after a job that waited, or held a slot, was cancelled, for who has not read its record: what is known of
 * its calls stays as it was counted. `reservedMicroUsd`: what its slot had reserved.
 */
export function countCancelled(
  counters: Counters,
  { reservedMicroUsd, finishedAt }: { reservedMicroUsd: number; finishedAt: number },
): Counters {
  const unread = {
    possiblyRepeated: 0,
    unsureMicroUsd: 0,
    upperMicroUsd: reservedMicroUsd,
    startedAt: null,
  }
  // Where nothing was reserved its cost is 0, and a slot counts as waiting does.
  const before = { ...unread, phase: { kind: 'slotted', slotAt: finishedAt, isReserved: true } } as const
  return count(counters, before, { ...unread, phase: { kind: 'cancelled', finishedAt } })
}

/** Takes the cost of one call into account before it is made, if the cap allows for it. */
export function reserve(counters: Counters, microUsd: number): Counters {
  return { ...counters, reservedMicroUsd: counters.reservedMicroUsd + microUsd }
}

/** What is spent, may be spent, and is about to be: what a cap stands above. */
export function committedMicroUsd(counters: Counters): number {
  return counters.spentMicroUsd + counters.unsureMicroUsd + counters.reservedMicroUsd
}

/** How many of the newest answers, up to `answersKept`, were refusals; those before `since` do not count. */
export function refusedRecently(counters: Counters, since: number): number {
  return newest(counters.answersRecently).filter(({ at, isRefused }) => isRefused && at >= since).length
}

/** The design's last 50 jobs. */
export const answersKept = 50

function newest(answers: readonly Answer[]): readonly Answer[] {
  return [...answers].sort((a, b) => a.at - b.at).slice(-answersKept)
}

/** Whether a change of a job changes any counter, so that a shard must be written. */
export function changesCounters(before: Job, after: Job): boolean {
  if (before.phase.kind === after.phase.kind) return false
  return JSON.stringify(countersOf(before)) !== JSON.stringify(countersOf(after))
}

export function sum(shards: readonly Counters[]): Counters {
  const add = (pick: (counters: Counters) => number): number =>
    shards.reduce((total, counters) => total + pick(counters), 0)
  return {
    waiting: add((c) => c.waiting),
    running: add((c) => c.running),
    succeeded: add((c) => c.succeeded),
    failed: add((c) => c.failed),
    cancelled: add((c) => c.cancelled),
    images: add((c) => c.images),
    inputTokens: add((c) => c.inputTokens),
    outputTokens: add((c) => c.outputTokens),
    possiblyRepeated: add((c) => c.possiblyRepeated),
    spentMicroUsd: add((c) => c.spentMicroUsd),
    unsureMicroUsd: add((c) => c.unsureMicroUsd),
    reservedMicroUsd: add((c) => c.reservedMicroUsd),
    callMs: add((c) => c.callMs),
    firstStartedAt: shards.reduce((first, c) => earliest(first, c.firstStartedAt), noCounters.firstStartedAt),
    lastFinishedAt: shards.reduce((last, c) => latest(last, c.lastFinishedAt), noCounters.lastFinishedAt),
    finishedRecently: shards.flatMap((c) => c.finishedRecently),
    answersRecently: shards.flatMap((c) => c.answersRecently),
  }
}

/**
 * Counts from shards that were read one after the other while jobs moved: final states only grow, so they stand as
 * read; the total is the sum, and what a move between two reads put out of balance is settled on the waiting.
 */
export function jobCounts(counters: Counters): JobCounts {
  const { succeeded, failed, cancelled } = counters
  const final = succeeded + failed + cancelled
  const total = Math.max(final, counters.waiting + counters.running + final)
  const running = Math.min(Math.max(0, counters.running), total - final)
  return { total, waiting: total - final - running, running, succeeded, failed, cancelled }
}

export function ratePerMinute(counters: Counters, now: number): number {
  return recentCount(counters.finishedRecently, now)
}

function countersOf(job: Counted): Counters {
  const { possiblyRepeated, unsureMicroUsd, upperMicroUsd, startedAt, phase } = job
  const base = { ...noCounters, possiblyRepeated, unsureMicroUsd, firstStartedAt: startedAt }
  switch (phase.kind) {
    case 'waiting':
      return { ...base, waiting: 1 }
    case 'slotted':
      return { ...base, waiting: 1, reservedMicroUsd: phase.isReserved ? upperMicroUsd : 0 }
    case 'running':
      return { ...base, running: 1, reservedMicroUsd: upperMicroUsd }
    case 'succeeded':
      return {
        ...base,
        succeeded: 1,
        images: phase.images.length,
        inputTokens: phase.usage.inputTokens,
        outputTokens: phase.usage.outputTokens,
        spentMicroUsd: phase.costMicroUsd,
        callMs: Math.max(0, (phase.answeredAt ?? phase.finishedAt) - (startedAt ?? phase.finishedAt)),
        lastFinishedAt: phase.finishedAt,
        finishedRecently: [{ at: phase.finishedAt, count: 1 }],
        answersRecently: [{ at: phase.finishedAt, isRefused: false }],
      }
    case 'failed': {
      const isRefused = phase.failure.kind === 'refused'
      return {
        ...base,
        failed: 1,
        lastFinishedAt: phase.finishedAt,
        finishedRecently: [{ at: phase.finishedAt, count: 1 }],
        answersRecently: startedAt === null ? [] : [{ at: phase.finishedAt, isRefused }],
      }
    }
    // No rate: it tells how fast what is left will be done.
    case 'cancelled':
      return { ...base, cancelled: 1, lastFinishedAt: phase.finishedAt }
  }
}

function negated(counters: Counters): Counters {
  return {
    waiting: -counters.waiting,
    running: -counters.running,
    succeeded: -counters.succeeded,
    failed: -counters.failed,
    cancelled: -counters.cancelled,
    images: -counters.images,
    inputTokens: -counters.inputTokens,
    outputTokens: -counters.outputTokens,
    possiblyRepeated: -counters.possiblyRepeated,
    spentMicroUsd: -counters.spentMicroUsd,
    unsureMicroUsd: -counters.unsureMicroUsd,
    reservedMicroUsd: -counters.reservedMicroUsd,
    callMs: -counters.callMs,
    firstStartedAt: null,
    lastFinishedAt: null,
    finishedRecently: [],
    answersRecently: [],
  }
}

function earliest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.min(a, b)
}

function latest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.max(a, b)
}
