import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addToBucket, recentCount } from '../../../src/core/rates.ts'
import {
  answersKept,
  changesCounters,
  committedMicroUsd,
  count,
  countCancelled,
  jobCounts,
  noCounters,
  ratePerMinute,
  refusedRecently,
  reserve,
  sum,
  type Counters,
} from '../../../src/core/jobs/counters.ts'
import {
  cancelled,
  claimed,
  failed,
  renewed,
  retried,
  snoozed,
  succeeded,
  unslotted,
} from '../../../src/core/jobs/transitions.ts'
import type { Job } from '../../../src/core/jobs/job.ts'
import { timing } from '../../../src/core/timing.ts'
import { failureOfTest, image, jobIn, phaseKinds, t0, usage } from '../sample.ts'

const shards = 3

describe('the counters of a batch', () => {
  test('hold every job once, whatever happens to the jobs and wherever it is counted', () => {
    fc.assert(
      fc.property(changesArbitrary, (changes) => {
        const { jobs, history } = play(changes)
        const counters = sum(history.map((versions) => versions.at(-1)!))
        const { waiting, running, succeeded: done, failed: lost, cancelled: left } = counters
        expect(waiting + running + done + lost + left).toBe(jobs.length)
        const inPhases = (...kinds: readonly string[]): number =>
          jobs.filter(({ phase }) => kinds.includes(phase.kind)).length
        expect(counters).toMatchObject({
          waiting: inPhases('waiting', 'slotted'),
          running: inPhases('running'),
          succeeded: inPhases('succeeded'),
          failed: inPhases('failed'),
          cancelled: inPhases('cancelled'),
          images: inPhases('succeeded'),
          inputTokens: inPhases('succeeded') * usage.inputTokens,
          outputTokens: inPhases('succeeded') * usage.outputTokens,
          possiblyRepeated: jobs.reduce((total, job) => total + job.possiblyRepeated, 0),
        })
        const rate = ratePerMinute(counters, t0 + changes.length * 100)
        expect(rate).toBe(inPhases('succeeded', 'failed'))
      }),
    )
  })

  test('hold what was spent, what may have been and what is about to be, whatever happens', () => {
    fc.assert(
      fc.property(changesArbitrary, (changes) => {
        const { jobs, history } = play(changes)
        const counters = sum(history.map((versions) => versions.at(-1)!))
        const { spentMicroUsd, unsureMicroUsd, reservedMicroUsd } = counters
        const totalOf = (pick: (job: Job) => number): number =>
          jobs.reduce((total, job) => total + pick(job), 0)
        expect({ spentMicroUsd, unsureMicroUsd, reservedMicroUsd }).toEqual({
          spentMicroUsd: totalOf(({ phase }) => (phase.kind === 'succeeded' ? phase.costMicroUsd : 0)),
          unsureMicroUsd: totalOf((job) => job.unsureMicroUsd),
          reservedMicroUsd: totalOf(({ phase, upperMicroUsd }) =>
            phase.kind === 'running' || (phase.kind === 'slotted' && phase.isReserved) ? upperMicroUsd : 0,
          ),
        })
        expect(committedMicroUsd(counters)).toBe(spentMicroUsd + unsureMicroUsd + reservedMicroUsd)
      }),
    )
  })

  test('are committed to more by a slot under a cap, or a claim without one, and by nothing else', () => {
    fc.assert(
      fc.property(changesArbitrary, (changes) => {
        const { steps } = play(changes)
        for (const { before, after } of steps) {
          const isSlotUnderCap = after.phase.kind === 'slotted' && after.phase.isReserved
          const isClaimWithoutCap =
            before?.phase.kind === 'slotted' && !before.phase.isReserved && after.phase.kind === 'running'
          const added = committedMicroUsd(count(noCounters, before, after))
          if (isSlotUnderCap || isClaimWithoutCap) expect(added).toBe(after.upperMicroUsd)
          else if (after.phase.kind !== 'succeeded' || isOfACall(before)) expect(added).toBeLessThanOrEqual(0)
        }
      }),
    )
  })

  test('read one after the other while jobs move, show no number below zero and add up', () => {
    const reads = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
      minLength: shards,
      maxLength: shards,
    })
    fc.assert(
      fc.property(changesArbitrary, reads, (changes, readAt) => {
        const { history } = play(changes)
        const torn = history.map((versions, i) => versions[Math.floor(readAt[i]! * (versions.length - 1))]!)
        const { total, ...states } = jobCounts(sum(torn))
        expect(Object.values(states).filter((number) => number < 0)).toEqual([])
        expect(Object.values(states).reduce((all, number) => all + number, 0)).toBe(total)
      }),
    )
  })
})

describe('counts of jobs', () => {
  test.each([
    ['a claim seen only where it was taken from', { waiting: 2, running: -1 }, { total: 1, waiting: 1 }],
    ['more ended than were seen to be accepted', { waiting: -3, succeeded: 2 }, { total: 2, succeeded: 2 }],
    [
      'more running than there can be',
      { waiting: -2, running: 3, failed: 1 },
      { total: 2, running: 1, failed: 1 },
    ],
  ])('%s', (_, seen, shown) => {
    const none = { total: 0, waiting: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 }
    expect(jobCounts({ ...noCounters, ...seen })).toEqual({ ...none, ...shown })
  })
})

describe('one change', () => {
  test('of a job that was accepted counts it in', () => {
    expect(count(noCounters, null, jobIn('waiting'))).toEqual({ ...noCounters, waiting: 1 })
  })

  test('of a job that was rejected counts it as failed, and as ended now', () => {
    const counters = count(noCounters, null, jobIn('failed'))
    expect(counters).toMatchObject({ failed: 1, lastFinishedAt: t0 + 40_000, callMs: 0 })
    expect(ratePerMinute(counters, t0 + 40_000)).toBe(1)
  })

  test('to cancelled counts as ended, and adds no rate', () => {
    const counters = count(noCounters, jobIn('waiting'), jobIn('cancelled'))
    expect(counters).toMatchObject({ waiting: -1, cancelled: 1, lastFinishedAt: t0 + 40_000 })
    expect(counters.answersRecently).toEqual([])
    expect(ratePerMinute(counters, t0 + 40_000)).toBe(0)
  })

  test.each([
    ['that waits', jobIn('waiting'), 0],
    ['with a slot', jobIn('slotted'), 0],
    ['whose slot is under a cap', reservedJob(), 10_000],
    ['with calls behind it', jobIn('waiting', { possiblyRepeated: 1, unsureMicroUsd: 10_000 }), 0],
  ])('to cancelled counts the same without the record: a job %s', (_, before, reservedMicroUsd) => {
    const after = cancelled(before, { finishedAt: t0 + 40_000 })!
    expect(countCancelled(noCounters, { reservedMicroUsd, finishedAt: t0 + 40_000 })).toEqual(
      count(noCounters, before, after),
    )
  })

  test('to cancelled gives back what its slot had reserved', () => {
    const [unreserved, reserved] = [jobIn('slotted'), reservedJob()]
    expect(count(noCounters, unreserved, jobIn('cancelled')).reservedMicroUsd).toBe(0)
    expect(count(noCounters, reserved, jobIn('cancelled')).reservedMicroUsd).toBe(-10_000)
  })

  test('to succeeded adds images, tokens and the time of the call', () => {
    const fields = { startedAt: t0 + 10_000, possiblyRepeated: 1 }
    const running = jobIn('running', fields)
    const claim = count(noCounters, jobIn('slotted'), running)
    expect(claim.reservedMicroUsd).toBe(10_000)
    expect(count(claim, running, jobIn('succeeded', fields))).toEqual({
      ...noCounters,
      waiting: -1,
      succeeded: 1,
      images: 1,
      possiblyRepeated: 1,
      callMs: 30_000,
      inputTokens: usage.inputTokens,
      outputTokens: usage.outputTokens,
      firstStartedAt: t0 + 10_000,
      lastFinishedAt: t0 + 40_000,
      finishedRecently: [{ at: t0 + 40_000, count: 1 }],
      spentMicroUsd: 5_000,
      reservedMicroUsd: 0,
      answersRecently: [{ at: t0 + 40_000, isRefused: false }],
    })
  })

  test('of a slot under a cap takes its cost into account before the record is read', () => {
    const reservation = reserve(count(noCounters, null, jobIn('waiting')), 10_000)
    expect(reservation).toEqual(count(noCounters, null, reservedJob()))
    expect(changesCounters(jobIn('waiting'), reservedJob())).toBe(true)
    expect(changesCounters(reservedJob(), jobIn('waiting'))).toBe(true)
  })

  test('of a refused job counts its answer, and that of a message that was no job does not', () => {
    const refused = count(noCounters, jobIn('running'), jobIn('failed', { startedAt: t0 }))
    expect(refused.answersRecently).toEqual([{ at: t0 + 40_000, isRefused: true }])
    const broken = { ...failureOfTest, kind: 'transient' as const }
    const phase = { kind: 'failed', finishedAt: t0 + 40_000, failure: broken } as const
    const failedJob = count(noCounters, jobIn('running'), jobIn('failed', { startedAt: t0, phase }))
    expect(failedJob.answersRecently).toEqual([{ at: t0 + 40_000, isRefused: false }])
    expect(count(noCounters, null, jobIn('failed')).answersRecently).toEqual([])
  })

  test('with clocks that differ never takes time away', () => {
    expect(count(noCounters, null, jobIn('succeeded', { startedAt: t0 + 41_000 })).callMs).toBe(0)
    expect(count(noCounters, null, jobIn('succeeded')).callMs).toBe(0)
  })

  test.each(phaseKinds.flatMap((from) => phaseKinds.map((to) => ({ from, to }))))(
    'from $from to $to says rightly whether its shard has to be written',
    ({ from, to }) => {
      const [before, after] = [jobIn(from), jobIn(to)]
      const { finishedRecently: _, answersRecently: __, ...counted } = count(noCounters, before, after)
      const { finishedRecently: ___, answersRecently: ____, ...none } = noCounters
      const isSame =
        JSON.stringify({ ...counted, lastFinishedAt: null }).replaceAll('-0', '0') === JSON.stringify(none)
      expect(changesCounters(before, after)).toBe(!isSame)
    },
  )
})

describe('sums', () => {
  test('of nothing are nothing', () => {
    expect(sum([])).toEqual(noCounters)
  })

  test('take the first start and the last end', () => {
    const shard = (firstStartedAt: number | null, lastFinishedAt: number | null): Counters => ({
      ...noCounters,
      firstStartedAt,
      lastFinishedAt,
    })
    expect(sum([shard(5, 6), shard(3, 4), shard(null, null)])).toMatchObject({
      firstStartedAt: 3,
      lastFinishedAt: 6,
    })
  })
})

describe('the newest answers', () => {
  function answeredAt(at: number, isRefused: boolean): Job {
    const job = jobIn(isRefused ? 'failed' : 'succeeded', { startedAt: at })
    return job.phase.kind === 'succeeded' || job.phase.kind === 'failed'
      ? { ...job, phase: { ...job.phase, finishedAt: at } }
      : job
  }

  test('are kept up to a number, in whatever order they came', () => {
    let counters = noCounters
    for (let i = 0; i < 2 * answersKept; i += 1) {
      // Of two instances that count by turns one has a clock that is ahead.
      const at = t0 + i * 1_000 + (i % 2) * 90_000
      counters = count(counters, jobIn('running'), answeredAt(at, false))
    }
    const times = counters.answersRecently.map(({ at }) => at)
    expect(times).toHaveLength(answersKept)
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect(times[0]).toBeGreaterThan(t0 + 90_000)
  })

  test('over all shards tell how many were refused, and forget those that somebody has looked at', () => {
    const all = Array.from({ length: 3 * answersKept }, (_, i) =>
      count(noCounters, jobIn('running'), answeredAt(t0 + i * 1_000, i % 5 === 0)),
    )
    const three = [0, 1, 2].map((shard) => sum(all.filter((_, i) => i % 3 === shard)))
    const together = sum(three)
    const newestFrom = t0 + 2 * answersKept * 1_000
    expect(refusedRecently(together, 0)).toBe(answersKept / 5)
    expect(refusedRecently(together, newestFrom)).toBe(answersKept / 5)
    expect(refusedRecently(together, newestFrom + 1)).toBe(answersKept / 5 - 1)
    expect(refusedRecently(together, newestFrom + 3_600_000)).toBe(0)
    expect(refusedRecently(noCounters, 0)).toBe(0)
  })
})

describe('buckets', () => {
  const { rateBucketMs, rateWindowMs } = timing

  test('of one time are one, and old ones go', () => {
    let buckets = addToBucket([], t0, 1)
    buckets = addToBucket(buckets, t0 + rateBucketMs - 1, 2)
    expect(buckets).toEqual([{ at: t0, count: 3 }])
    buckets = addToBucket(buckets, t0 + rateBucketMs, 1)
    expect(buckets).toHaveLength(2)
    expect(addToBucket(buckets, t0 + 2 * rateWindowMs, 1)).toHaveLength(2)
    expect(addToBucket(buckets, t0 + 3 * rateWindowMs, 1)).toHaveLength(1)
  })

  test('never grow beyond two windows', () => {
    let buckets = addToBucket([], t0, 1)
    for (let i = 0; i < 1_000; i += 1) buckets = addToBucket(buckets, t0 + i * 1_000, 1)
    expect(buckets.length).toBeLessThanOrEqual((2 * rateWindowMs) / rateBucketMs + 1)
  })

  test('of the future and of the minute before are not in the rate', () => {
    const counters = { ...noCounters, finishedRecently: addToBucket([], t0, 4) }
    expect(ratePerMinute(counters, t0 - 1)).toBe(0)
    expect(ratePerMinute(counters, t0 + rateWindowMs - 1)).toBe(4)
    expect(ratePerMinute(counters, t0 + rateWindowMs)).toBe(0)
  })

  test('are summed over another window where it is asked for', () => {
    const buckets = addToBucket(addToBucket([], t0, 4), t0 + 20_000, 1)
    expect(recentCount(buckets, t0 + 20_000)).toBe(5)
    expect(recentCount(buckets, t0 + 20_000, 20_000)).toBe(1)
    expect(recentCount(buckets, t0 + 20_000, 20_001)).toBe(5)
  })
})

type Change = { readonly job: number; readonly event: number; readonly shard: number }

const changesArbitrary = fc.array(
  fc.record({
    job: fc.nat({ max: 9 }),
    event: fc.nat({ max: 9 }),
    shard: fc.nat({ max: shards - 1 }),
  }),
  { maxLength: 150, size: 'max' },
)

const events: readonly ((job: Job, now: number) => Job | undefined)[] = [
  (job, now) =>
    job.phase.kind === 'waiting'
      ? { ...job, phase: { kind: 'slotted', slotAt: now, isReserved: false } }
      : undefined,
  (job, now) =>
    job.phase.kind === 'waiting'
      ? { ...job, phase: { kind: 'slotted', slotAt: now, isReserved: true } }
      : undefined,
  (job, now) => claimed(job, { slotAt: now, deployment: 'images', leaseUntil: now + 90_000 }),
  unslotted,
  (job, now) => renewed(job, { leaseUntil: now }),
  (job) => snoozed(job),
  (job, now) => retried(job, { dueAt: now, possiblyPaid: true }),
  (job, now) => succeeded(job, { finishedAt: now, images: [image], usage, costMicroUsd: 5_000 }),
  (job, now) => failed(job, { finishedAt: now, failure: failureOfTest }),
  (job, now) => cancelled(job, { finishedAt: now }),
]

/** An answer comes only of a call: one under way, or one that a rescue has given up. */
function isOfACall(job: Job | null): boolean {
  return job?.phase.kind === 'running' || (job?.possiblyRepeated ?? 0) > 0
}

function reservedJob(): Job {
  return jobIn('slotted', { phase: { kind: 'slotted', slotAt: t0 + 10_000, isReserved: true } })
}

type JobStep = { readonly before: Job | null; readonly after: Job }

/**
 * Applies what is legal of the changes; answers the jobs, each step that one of them took, and every version that each
 * shard of the counters has had.
 */
function play(changes: readonly Change[]): {
  readonly jobs: readonly Job[]
  readonly steps: readonly JobStep[]
  readonly history: readonly (readonly Counters[])[]
} {
  const jobs = new Map<number, Job>()
  const steps: JobStep[] = []
  const history = Array.from({ length: shards }, () => [noCounters])
  changes.forEach(({ job: number, event, shard }, i) => {
    const before = jobs.get(number)
    const after = before === undefined ? jobIn('waiting') : events[event]!(before, t0 + i * 100)
    if (after === undefined) return
    const versions = history[shard]!
    if (before === undefined || changesCounters(before, after)) {
      versions.push(count(versions.at(-1)!, before ?? null, after))
    }
    jobs.set(number, after)
    steps.push({ before: before ?? null, after })
  })
  return { jobs: [...jobs.values()], steps, history }
}
