import type { Job } from './job.ts'
import { timing } from './timing.ts'

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
  /** Time spent in the calls that succeeded, for estimates. */
  readonly callMs: number
  readonly firstStartedAt: number | null
  readonly lastFinishedAt: number | null
  /** Jobs finished per bucket of `timing.rateBucketMs`, for the last minute's rate. */
  readonly finishedRecently: readonly Bucket[]
}

export type Bucket = { readonly at: number; readonly count: number }

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
  callMs: 0,
  firstStartedAt: null,
  lastFinishedAt: null,
  finishedRecently: [],
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

/** The counters after one job changed; `before` is null for a job that was just accepted. */
export function count(counters: Counters, before: Job | null, after: Job): Counters {
  const was = before === null ? noCounters : countersOf(before)
  const is = countersOf(after)
  return {
    ...sum([
      counters,
      { ...is, firstStartedAt: null, lastFinishedAt: null, finishedRecently: [] },
      negated(was),
    ]),
    firstStartedAt: earliest(counters.firstStartedAt, is.firstStartedAt),
    lastFinishedAt: latest(counters.lastFinishedAt, is.lastFinishedAt),
    finishedRecently:
      is.lastFinishedAt === null
        ? counters.finishedRecently
        : addToBucket(counters.finishedRecently, is.lastFinishedAt, 1),
  }
}

/** Whether a change of a job leaves every counter as it was, so that its shard need not be written. */
export function changesCounters(before: Job, after: Job): boolean {
  return before.phase.kind !== after.phase.kind && !(isQueued(before) && isQueued(after))
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
    callMs: add((c) => c.callMs),
    firstStartedAt: shards.reduce((first, c) => earliest(first, c.firstStartedAt), noCounters.firstStartedAt),
    lastFinishedAt: shards.reduce((last, c) => latest(last, c.lastFinishedAt), noCounters.lastFinishedAt),
    finishedRecently: shards.flatMap((c) => c.finishedRecently),
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

/** Things counted within the last minute, to the width of a bucket. */
export function recentCount(buckets: readonly Bucket[], now: number): number {
  return buckets
    .filter(({ at }) => at > now - timing.rateWindowMs && at <= now)
    .reduce((total, bucket) => total + bucket.count, 0)
}

/** Adds to the bucket of a time, and drops buckets that no rate needs any more. */
export function addToBucket(buckets: readonly Bucket[], time: number, count: number): readonly Bucket[] {
  const at = Math.floor(time / timing.rateBucketMs) * timing.rateBucketMs
  const kept = buckets.filter((bucket) => bucket.at !== at && bucket.at > time - 2 * timing.rateWindowMs)
  const present = buckets.find((bucket) => bucket.at === at)?.count ?? 0
  return [...kept, { at, count: present + count }]
}

function countersOf(job: Job): Counters {
  const base = { ...noCounters, possiblyRepeated: job.possiblyRepeated, firstStartedAt: job.startedAt }
  switch (job.phase.kind) {
    case 'waiting':
    case 'slotted':
      return { ...base, waiting: 1 }
    case 'running':
      return { ...base, running: 1 }
    case 'succeeded':
      return {
        ...base,
        succeeded: 1,
        images: job.phase.images.length,
        inputTokens: job.phase.usage.inputTokens,
        outputTokens: job.phase.usage.outputTokens,
        callMs: Math.max(0, job.phase.finishedAt - (job.startedAt ?? job.phase.finishedAt)),
        lastFinishedAt: job.phase.finishedAt,
      }
    case 'failed':
      return { ...base, failed: 1, lastFinishedAt: job.phase.finishedAt }
    case 'cancelled':
      return { ...base, cancelled: 1, lastFinishedAt: job.phase.finishedAt }
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
    callMs: -counters.callMs,
    firstStartedAt: null,
    lastFinishedAt: null,
    finishedRecently: [],
  }
}

function isQueued(job: Job): boolean {
  return job.phase.kind === 'waiting' || job.phase.kind === 'slotted'
}

function earliest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.min(a, b)
}

function latest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.max(a, b)
}
