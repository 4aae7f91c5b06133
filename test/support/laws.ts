import { expect } from 'vitest'
import type { FailureKind } from '../../src/core/jobs/failure.ts'
import { jobCounts, sum, type Counters } from '../../src/core/jobs/counters.ts'
import { isFinal, type Image, type Job, type Usage } from '../../src/core/jobs/job.ts'
import { indexRowOf, parseIndexRow } from '../../src/storage/tables/row-keys.ts'
import type { JobRef } from '../../src/ports/jobs.ts'
import { batchRow } from '../../src/storage/tables/batch-rows.ts'
import { readCounters, readJob } from '../../src/storage/tables/job-rows.ts'
import type { Entity } from '../../src/storage/tables/table.ts'

/** The laws of design, section 7: each is one named assertion, the same in every test. */

export { assertNeverFasterThan } from './never-faster-than.ts'

/** What the rows of one batch say, read from scratch. */
export type BatchContent = { readonly jobs: readonly Job[]; readonly counters: Counters }

/** One call as the deployment, and the world around it, saw it. */
export type PaidCall = {
  readonly job: JobRef
  readonly id: string
  readonly startedAt: number
  /** When the run that made the call had claimed the job. */
  readonly claimedAt: number
  /** `lost`: no answer came, so nobody knows. An error that the model answered is never paid for. */
  readonly answer: 'images' | 'lost' | 'error'
  /** When the last of its pictures was stored. */
  readonly storedAt: number | undefined
  readonly usage: Usage
  readonly sha256: readonly string[]
}

/**
 * Law 2, at any moment: the counters of a batch are exactly what its records say, every job has exactly its own index
 * row, and nothing else has one.
 */
export function assertRowsAgree(batch: string, rows: readonly Entity[]): BatchContent {
  const content = readRows(batch, rows)
  const { jobs, counters } = content
  const has = (kind: string): number => jobs.filter(({ phase }) => phase.kind === kind).length
  const counted = {
    waiting: has('waiting') + has('slotted'),
    running: has('running'),
    succeeded: has('succeeded'),
    failed: has('failed'),
    cancelled: has('cancelled'),
  }
  const { waiting, running, succeeded, failed, cancelled } = counters
  mustBe({ waiting, running, succeeded, failed, cancelled }, counted, `counters of batch ${batch}`)
  mustBe(jobCounts(counters).total, jobs.length, `total of batch ${batch}`)
  const indexed = rows.flatMap(({ row }) => (parseIndexRow(row) === undefined ? [] : [row]))
  const wanted = jobs.map(indexRowOf)
  mustBe(indexed, wanted.sort(), `index rows of batch ${batch}`)
  return content
}

/** Law 2, at the end: every accepted job is in one final state. */
export function assertAllFinished(batch: string, rows: readonly Entity[], accepted: readonly string[]): void {
  const { jobs } = assertRowsAgree(batch, rows)
  expect(jobs.map(({ key }) => key).sort(), `jobs of batch ${batch}`).toEqual([...accepted].sort())
  const unfinished = jobs.filter((job) => !isFinal(job)).map(({ key, phase }) => `${key}: ${phase.kind}`)
  expect(unfinished, `unfinished jobs of batch ${batch}`).toEqual([])
}

/**
 * Law 3: no call starts when an answer is in the store already; and every call beyond the first that may have been
 * paid for is labelled with the job.
 */
export function assertRepeatsAreLabelled(job: Job, calls: readonly PaidCall[]): void {
  for (const stored of calls) {
    const { storedAt = Infinity } = stored
    const after = calls.filter(({ startedAt }) => startedAt > storedAt)
    expect(
      after.map(({ id }) => id),
      `calls of ${job.batch}.${job.key} after the answer of ${stored.id} was stored`,
    ).toEqual([])
  }
  const maybePaid = calls.filter(({ answer }) => answer !== 'error').length
  expect(
    maybePaid - 1,
    `repeats of ${job.batch}.${job.key} beyond its label (${calls.map(({ id, answer }) => `${id} ${answer}`).join(', ')})`,
  ).toBeLessThanOrEqual(job.possiblyRepeated)
}

/** Law 4: a job counts the images and tokens of one call of its own that was answered, and the batch their sum. */
export function assertCountedOnce(
  { jobs, counters }: BatchContent,
  callsOf: (job: JobRef) => readonly PaidCall[],
): void {
  const results = jobs.flatMap((job) => (job.phase.kind === 'succeeded' ? [{ job, ...job.phase }] : []))
  for (const { job, images, usage } of results) {
    const shas = images.map(({ sha256 }) => sha256)
    const answered = callsOf(job).filter(
      (call) => call.answer === 'images' && isSame(call.sha256, shas) && isSame(call.usage, usage),
    )
    expect(answered.length, `calls that left what ${job.batch}.${job.key} counts`).toBe(1)
  }
  const add = (pick: (result: { images: readonly Image[]; usage: Usage }) => number): number =>
    results.reduce((total, result) => total + pick(result), 0)
  expect({
    images: counters.images,
    inputTokens: counters.inputTokens,
    outputTokens: counters.outputTokens,
    possiblyRepeated: counters.possiblyRepeated,
  }).toEqual({
    images: add(({ images }) => images.length),
    inputTokens: add(({ usage }) => usage.inputTokens),
    outputTokens: add(({ usage }) => usage.outputTokens),
    possiblyRepeated: jobs.reduce((total, job) => total + job.possiblyRepeated, 0),
  })
}

/** Law 5: what is spent, with the most that the calls under way can cost, never exceeds the cap in force. */
export function assertWithinCap(
  batch: string,
  calls: readonly {
    readonly id: string
    readonly startedAt: number
    readonly endedAt: number | undefined
    readonly upperMicroUsd: number
    readonly costMicroUsd: number
  }[],
  caps: readonly {
    readonly askedAt: number
    readonly answeredAt: number
    readonly capMicroUsd: number | null
  }[],
): void {
  for (const { id, startedAt } of calls) {
    const inForce = caps.filter(({ answeredAt }) => answeredAt <= startedAt).at(-1)
    // While a change is on its way either may be in force: the next one is never lower.
    const next = caps.find(({ askedAt, answeredAt }) => askedAt <= startedAt && answeredAt > startedAt)
    const isFree = inForce === undefined || inForce.capMicroUsd === null || next?.capMicroUsd === null
    if (isFree) continue
    const cap = Math.max(inForce.capMicroUsd ?? 0, next?.capMicroUsd ?? 0)
    const committed = calls
      .filter((call) => call.startedAt <= startedAt)
      .reduce((total, call) => {
        const isUnderWay = (call.endedAt ?? Infinity) > startedAt
        return total + (isUnderWay ? call.upperMicroUsd : call.costMicroUsd)
      }, 0)
    expect(committed, `micro-dollars of batch ${batch} at the start of ${id}`).toBeLessThanOrEqual(cap)
  }
}

/** Once a cancellation is answered no further call of its batch starts. */
export function assertNothingStartsAfter(
  time: number,
  calls: readonly { readonly id: string; readonly startedAt: number }[],
): void {
  expect(
    calls.filter(({ startedAt }) => startedAt > time).map(({ id }) => id),
    'calls after their batch was cancelled',
  ).toEqual([])
}

export type FailedJob = JobRef & { readonly finishedAt: number; readonly failure: FailureKind }

/** What a person asked for: failed jobs of these kinds, of those that had failed before. */
export type AskedRetry = {
  readonly batch: string
  readonly kinds: readonly FailureKind[]
  readonly failedBefore: number
  /** All that stood there as failed when it was asked. */
  readonly failed: readonly FailedJob[]
}

/** Failed jobs wait again only when a person asked for them, each failure once; and of what was asked for all do. */
export function assertReopenedAsAsked(
  reopened: readonly FailedJob[],
  { asked, answered }: { readonly asked: readonly AskedRetry[]; readonly answered: readonly AskedRetry[] },
): void {
  const nameOf = ({ batch, key, failure, finishedAt }: FailedJob): string =>
    `${batch}.${key}, ${failure} at ${finishedAt}`
  const isMeant = ({ batch, kinds, failedBefore }: AskedRetry, job: FailedJob): boolean =>
    job.batch === batch && kinds.includes(job.failure) && job.finishedAt < failedBefore
  const unasked = reopened.filter((job) => !asked.some((retry) => isMeant(retry, job)))
  expect(unasked.map(nameOf), 'jobs that wait again, and nobody asked for').toEqual([])
  const names = new Set(reopened.map(nameOf))
  expect(names.size, 'failures that were asked for again').toBe(reopened.length)
  const left = answered.flatMap((retry) =>
    retry.failed.filter((job) => isMeant(retry, job) && !names.has(nameOf(job))),
  )
  expect(left.map(nameOf), 'failed jobs that were asked for, and do not wait again').toEqual([])
}

/** Jain's index of what flows of equal weight got: 1 when all got the same. */
export function assertEqualShares(shares: readonly number[]): void {
  const total = shares.reduce((all, share) => all + share, 0)
  const squares = shares.reduce((all, share) => all + share * share, 0)
  expect(
    total ** 2 / (shares.length * squares),
    `Jain's index of ${shares.join(', ')}`,
  ).toBeGreaterThanOrEqual(0.999)
}

/** `toEqual` is slow for what is asked after every transaction of a simulation; it is left to say what differs. */
function mustBe(actual: unknown, wanted: unknown, what: string): void {
  if (!isSame(actual, wanted)) expect(actual, what).toEqual(wanted)
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

/** Rows are never changed in place, so what was read of one once is true for as long as it stands. */
const jobsRead = new WeakMap<Entity, Job>()
const countersRead = new WeakMap<Entity, Counters>()

function readRows(batch: string, rows: readonly Entity[]): BatchContent {
  const jobs: Job[] = []
  const shards: Counters[] = []
  for (const entity of rows) {
    const { row } = entity
    if (row.startsWith('job:')) {
      jobs.push(once(jobsRead, entity, () => readJob({ batch, key: row.slice('job:'.length) }, entity)))
    } else if (row.startsWith('count:')) {
      shards.push(once(countersRead, entity, () => readCounters(entity)))
    } else if (row !== batchRow && parseIndexRow(row) === undefined) {
      throw new Error(`batch ${batch} has a row ${row} that nobody knows`)
    }
  }
  return { jobs, counters: sum(shards) }
}

function once<T>(known: WeakMap<Entity, T>, entity: Entity, read: () => T): T {
  const value = known.get(entity) ?? read()
  known.set(entity, value)
  return value
}
