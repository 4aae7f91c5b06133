import { describe, expect, test } from 'vitest'
import {
  cancelled,
  claimed,
  failed,
  postponed,
  renewed,
  reopened,
  retried,
  snoozed,
  succeeded,
  transitions,
  unslotted,
  type JobEvent,
} from '../../../src/core/jobs/transitions.ts'
import {
  isFinal,
  isInRun,
  newJob,
  rejectedJob,
  isGivenUp,
  type Job,
  type PhaseKind,
} from '../../../src/core/jobs/job.ts'
import { limits } from '../../../src/core/limits.ts'
import { failureOfTest, frozen, image, jobIn, phaseKinds, phaseOf, t0, usage } from '../sample.ts'

/** Every event that has a function; a slot is given by the job table itself, by the same table of transitions. */
const events: { readonly [Event in Exclude<JobEvent, 'slotted'>]: (job: Job) => Job | undefined } = {
  unslotted,
  claimed: (job) => claimed(job, { slotAt: t0, deployment: 'images', leaseUntil: t0 + 90_000 }),
  renewed: (job) => renewed(job, { leaseUntil: t0 + 180_000 }),
  snoozed: (job) => snoozed(job),
  retried: (job) => retried(job, { dueAt: t0 + 9_000, possiblyPaid: false }),
  postponed: (job) => postponed(job, { dueAt: t0 + 9_000 }),
  succeeded: (job) => succeeded(job, { finishedAt: t0, images: [image], usage, costMicroUsd: 5_000 }),
  failed: (job) => failed(job, { finishedAt: t0, failure: failureOfTest }),
  cancelled: (job) => cancelled(job, { finishedAt: t0 }),
  reopened: (job) => reopened(job, { now: t0 + 60_000 }),
}

describe('the table of transitions', () => {
  const steps = Object.entries(events).flatMap(([name, event]) =>
    phaseKinds.map((from) => ({ name, event, from })),
  )

  test.each(steps)('$name from $from', ({ name, event, from }) => {
    const row = Object.entries(transitions).find(([key]) => key === name)?.[1]
    const froms: readonly PhaseKind[] = row?.from ?? []
    // The job is frozen: an event that changed it in place would throw.
    const before = jobIn(from, { attempts: 1, requestIds: ['r1'] })
    const after = event(before)
    expect(after?.phase.kind).toBe(froms.includes(from) ? row?.to : undefined)
    if (after !== undefined) expect(after).not.toBe(before)
  })

  test('has an event function for every row but the one the job table carries out', () => {
    expect(Object.keys(events).toSorted()).toEqual(
      Object.keys(transitions)
        .filter((event) => event !== 'slotted')
        .toSorted(),
    )
    expect(transitions.slotted).toEqual({ from: ['waiting'], to: 'slotted' })
  })

  test('lets nothing leave a final phase, but what a person asks for again', () => {
    const final: readonly PhaseKind[] = ['succeeded', 'failed', 'cancelled']
    const { reopened: byHand, ...others } = transitions
    for (const { from } of Object.values(others)) {
      expect(from.filter((kind) => final.includes(kind))).toEqual([])
    }
    expect(byHand.from).toEqual(['failed'])
  })
})

test.each([
  ['waiting', false],
  ['slotted', false],
  ['running', false],
  ['succeeded', true],
  ['failed', true],
  ['cancelled', true],
] as const)('whether a job that is %s is at its end: %s', (kind, isOver) => {
  expect(isFinal(jobIn(kind))).toBe(isOver)
})

describe('a new job', () => {
  const fields = frozen({
    batch: 'b',
    key: 'k',
    pool: 'pool',
    customId: null,
    metadata: { a: '1' },
    now: t0,
  })
  const unsent = {
    giveUpAt: null,
    output: null,
    onUnknown: null,
    attempts: 0,
    attemptsForgiven: 0,
    postponements: 0,
    failedAt: null,
    possiblyRepeated: 0,
    unsureMicroUsd: 0,
    slotAt: null,
    deployment: null,
    startedAt: null,
  }

  test('waits, due at once, with nothing spent', () => {
    const order = { request: { prompt: 'a fox' }, priority: 'high', upperMicroUsd: 20_000 } as const
    const job = newJob({ ...fields, ...order })
    expect(job).toEqual({
      batch: 'b',
      key: 'k',
      pool: 'pool',
      priority: 'high',
      upperMicroUsd: 20_000,
      customId: null,
      metadata: { a: '1' },
      createdAt: t0,
      input: null,
      request: { prompt: 'a fox' },
      requestIds: [],
      phase: { kind: 'waiting', dueAt: t0 },
      ...unsent,
    })
  })

  test('that was no valid one has failed, and keeps the beginning of its message', () => {
    const input = `${'x'.repeat(limits.rejectedInputCharsMax - 1)}😀 and more`
    const job = rejectedJob({ ...fields, failure: failureOfTest, input })
    expect(job).toMatchObject({
      request: null,
      priority: null,
      upperMicroUsd: 0,
      phase: { kind: 'failed', finishedAt: t0 },
      ...unsent,
    })
    expect(job.input).toBe(`${'x'.repeat(limits.rejectedInputCharsMax - 1)}\uFFFD`)
  })
})

describe('events', () => {
  test('a claim counts the attempt, before the call, and starts at the slot', () => {
    const claim = { slotAt: t0 + 1, deployment: 'images', leaseUntil: t0 + 90_000 }
    expect(claimed(jobIn('slotted', { attempts: 1 }), claim)).toMatchObject({
      attempts: 2,
      slotAt: t0 + 1,
      startedAt: t0 + 1,
      deployment: 'images',
      phase: { kind: 'running', leaseUntil: t0 + 90_000 },
    })
  })

  test('a renewal moves the lease, and nothing else', () => {
    const job = jobIn('running')
    const phase = { kind: 'running', leaseUntil: t0 + 500_000 }
    expect(renewed(job, { leaseUntil: t0 + 500_000 })).toEqual({ ...job, phase })
  })

  test('a snooze costs no attempt, keeps the place in line and the request id', () => {
    const job = jobIn('running', { attempts: 2, possiblyRepeated: 1 })
    expect(snoozed(job, { requestId: 'r9' })).toMatchObject({
      attempts: 1,
      possiblyRepeated: 1,
      requestIds: ['r9'],
      phase: { kind: 'waiting', dueAt: job.createdAt },
    })
    expect(snoozed(jobIn('running', { attempts: 0 }))?.attempts).toBe(0)
  })

  test('a slot given up keeps the place in line', () => {
    expect(unslotted(jobIn('slotted'))?.phase).toEqual({ kind: 'waiting', dueAt: t0 })
  })

  test('a retry waits, and is labelled when the call may have been paid for', () => {
    const job = jobIn('running', { attempts: 1 })
    const retry = { dueAt: t0 + 5_000, requestId: 'r1' }
    expect(retried(job, { ...retry, possiblyPaid: true })).toMatchObject({
      attempts: 1,
      possiblyRepeated: 1,
      requestIds: ['r1'],
      phase: { kind: 'waiting', dueAt: t0 + 5_000 },
    })
    expect(retried(job, { ...retry, possiblyPaid: false })?.possiblyRepeated).toBe(0)
  })

  test('a call that may have been paid for is held against the cap at its highest cost, each time', () => {
    const job = jobIn('running', { unsureMicroUsd: 10_000 })
    const retry = { dueAt: t0 + 5_000 }
    expect(retried(job, { ...retry, possiblyPaid: true })?.unsureMicroUsd).toBe(20_000)
    expect(retried(job, { ...retry, possiblyPaid: false })?.unsureMicroUsd).toBe(10_000)
    expect(snoozed(job)?.unsureMicroUsd).toBe(10_000)
  })

  test.each([
    ['unknown', 10_000],
    ['refused', 10_000],
    ['invalid', 0],
    ['transient', 0],
    ['throttled', 0],
    ['unavailable', 0],
  ] as const)('a failure that is %s may have cost %i', (kind, microUsd) => {
    const failure = { ...failureOfTest, kind }
    expect(failed(jobIn('running'), { finishedAt: t0, failure })?.unsureMicroUsd).toBe(microUsd)
  })

  test('an answer that is found late tells when it came, and one that is not does not', () => {
    const answer = { finishedAt: t0 + 9_000, images: [image], usage, costMicroUsd: 5_000 }
    const late = succeeded(jobIn('running'), { ...answer, answeredAt: t0 })
    expect(late?.phase).toMatchObject({ finishedAt: t0 + 9_000, answeredAt: t0 })
    expect(succeeded(jobIn('running'), answer)?.phase).not.toHaveProperty('answeredAt')
  })

  test('an answer that comes after a rescue takes back the repeat that has not taken place', () => {
    const answer = { finishedAt: t0, images: [image], usage, costMicroUsd: 5_000, requestId: 'r1' }
    const fields = { attempts: 1, possiblyRepeated: 1, unsureMicroUsd: 10_000 }
    const repeatsAndCost = (job: Job | undefined) => [job?.possiblyRepeated, job?.unsureMicroUsd]
    expect(repeatsAndCost(succeeded(jobIn('running', fields), answer))).toEqual([1, 10_000])
    expect(repeatsAndCost(succeeded(jobIn('waiting', fields), answer))).toEqual([0, 0])
    expect(repeatsAndCost(succeeded(jobIn('slotted', fields), answer))).toEqual([0, 0])
    expect(repeatsAndCost(succeeded(jobIn('waiting'), answer))).toEqual([0, 0])
    const twice = { ...fields, possiblyRepeated: 2, unsureMicroUsd: 20_000 }
    expect(repeatsAndCost(succeeded(jobIn('waiting', twice), answer))).toEqual([1, 10_000])
    expect(succeeded(jobIn('running'), answer)).toMatchObject({
      requestIds: ['r1'],
      phase: { kind: 'succeeded', finishedAt: t0, images: [image], usage, costMicroUsd: 5_000 },
    })
  })

  test('a job that is cancelled keeps what is known of its calls', () => {
    const fields = { attempts: 1, possiblyRepeated: 1, unsureMicroUsd: 10_000, requestIds: ['r1'] }
    const job = jobIn('waiting', fields)
    const phase = { kind: 'cancelled', finishedAt: t0 + 7 }
    expect(cancelled(job, { finishedAt: t0 + 7 })).toEqual({ ...job, phase })
  })

  test('a job may be cancelled with a reason', () => {
    const phase = { kind: 'cancelled', finishedAt: t0, reason: 'nobody waits' }
    expect(cancelled(jobIn('slotted'), { finishedAt: t0, reason: 'nobody waits' })?.phase).toEqual(phase)
  })

  test('a job is given up after its time, where it has one', () => {
    expect(isGivenUp({ giveUpAt: t0 }, t0)).toBe(false)
    expect(isGivenUp({ giveUpAt: t0 }, t0 + 1)).toBe(true)
    expect(isGivenUp({ giveUpAt: null }, t0 + 1)).toBe(false)
  })

  test('a failure says why', () => {
    const end = { finishedAt: t0, failure: failureOfTest, requestId: 'r1' }
    expect(failed(jobIn('running'), end)).toMatchObject({
      requestIds: ['r1'],
      phase: { kind: 'failed', finishedAt: t0, failure: failureOfTest },
    })
  })

  test('request ids are kept once each, the newest to a bound', () => {
    let job = jobIn('running', { requestIds: ['r0'] })
    expect(snoozed(job, { requestId: 'r0' })?.requestIds).toEqual(['r0'])
    for (let i = 1; i <= limits.requestIdsMax; i += 1) {
      job = frozen({ ...(snoozed(job, { requestId: `r${i}` }) ?? job), phase: phaseOf('running') })
    }
    expect(job.requestIds).toHaveLength(limits.requestIdsMax)
    expect(job.requestIds.at(0)).toBe('r1')
    expect(job.requestIds.at(-1)).toBe(`r${limits.requestIdsMax}`)
  })
})

test('a run is told by its slot: the attempt of one that sent nothing is counted again by the next', () => {
  const claimAt = (slotAt: number, deployment = 'images'): Job =>
    claimed(jobIn('slotted'), { slotAt, deployment, leaseUntil: t0 + 90_000 })!
  const run = claimAt(t0)
  expect(isInRun(renewed(run, { leaseUntil: t0 + 180_000 })!, run)).toBe(true)
  expect(isInRun(claimAt(t0 + 1_000), run)).toBe(false)
  expect(isInRun(claimAt(t0, 'others'), run)).toBe(false)
  expect(isInRun(snoozed(run)!, run)).toBe(false)
})

describe('a failed job that is asked for again', () => {
  const failedWith = (kind: 'refused' | 'unknown'): Job =>
    jobIn('failed', {
      attempts: 5,
      possiblyRepeated: 1,
      slotAt: t0,
      phase: { kind: 'failed', finishedAt: t0, failure: { kind, code: kind, message: kind } },
    })

  test('waits at the end of its line, its attempts forgiven', () => {
    expect(reopened(failedWith('refused'), { now: t0 + 9_000 })).toMatchObject({
      attempts: 5,
      attemptsForgiven: 5,
      failedAt: t0,
      possiblyRepeated: 1,
      slotAt: null,
      phase: { kind: 'waiting', dueAt: t0 + 9_000 },
    })
  })

  test('may be a repeat when nobody knows what became of its last call', () => {
    expect(reopened(failedWith('unknown'), { now: t0 })?.possiblyRepeated).toBe(2)
  })

  test('stays failed when it never was a job', () => {
    expect(reopened({ ...failedWith('refused'), giveUpAt: t0 - 1 }, { now: t0 })?.giveUpAt).toBeNull()
    expect(reopened({ ...failedWith('refused'), request: null }, { now: t0 })).toBeUndefined()
  })
})
