import { describe, expect, test } from 'vitest'
import { afterFailure } from '../../../src/core/jobs/after-failure.ts'
import { badAnswer, failureKinds, type FailureKind } from '../../../src/core/jobs/failure.ts'
import { failed, postponed, retried, snoozed, unslotted } from '../../../src/core/jobs/transitions.ts'
import type { Job, PhaseKind } from '../../../src/core/jobs/job.ts'
import { timing } from '../../../src/core/timing.ts'
import { frozen, jobIn, phaseKinds, t0 } from '../sample.ts'

const policy = { attemptsMax: 4, onUnknown: 'retry' } as const
const now = t0 + 30_000
const at = { now, chance: 0.5 }

const requestId = 'r2'
/** What the model answered holds more than what a failed job tells. */
const failureOf = (kind: FailureKind, code = 'c') =>
  frozen({ kind, code, message: 'm', requestId, status: 500, retryAfterMs: 7 })

type Row = readonly [kind: FailureKind, atFirst: Next, atLast: Next]
type Next = (job: Job, kind: FailureKind) => Job | undefined

describe('a call that failed', () => {
  const first = jobIn('running', { attempts: 1, requestIds: ['r1'] })
  const last = jobIn('running', { attempts: 4, requestIds: ['r1'] })

  const snooze: Next = (job) => snoozed(job, { requestId })
  const again: Next = (job) => retried(job, { dueAt: now + 2_000, possiblyPaid: false, requestId })
  const repeat: Next = (job) => retried(job, { dueAt: now + 2_000, possiblyPaid: true, requestId })
  const fail: Next = (job, kind) =>
    failed(job, { finishedAt: now, failure: { kind, code: 'c', message: 'm' }, requestId })

  const rows: readonly Row[] = [
    ['throttled', snooze, snooze],
    ['unavailable', snooze, snooze],
    ['refused', fail, fail],
    ['invalid', fail, fail],
    ['transient', again, fail],
    ['unknown', repeat, fail],
  ]

  test.each(rows)('%s', (kind, atFirst, atLast) => {
    for (const [job, next] of [
      [first, atFirst],
      [last, atLast],
    ] as const) {
      const after = afterFailure(job, failureOf(kind), policy, at)
      expect(after).toBeDefined()
      expect(after).toEqual(next(job, kind))
    }
  })

  test('has a row for every kind of failure', () => {
    expect(rows.map(([kind]) => kind).toSorted()).toEqual(failureKinds.toSorted())
  })

  test('keeps the id of its request', () => {
    for (const kind of failureKinds) {
      expect(afterFailure(first, failureOf(kind), policy, at)?.requestIds).toEqual(['r1', 'r2'])
    }
  })

  test('that may have been paid for is not repeated where a person wants to decide', () => {
    const asked = { ...policy, onUnknown: 'fail' } as const
    const phaseAfter = (kind: FailureKind, job: Job, terms: typeof asked | typeof policy) =>
      afterFailure(job, failureOf(kind), terms, at)?.phase.kind
    expect(phaseAfter('unknown', first, asked)).toBe('failed')
    expect(phaseAfter('transient', first, asked)).toBe('waiting')
    // What was said of the job itself goes before the settings.
    expect(phaseAfter('unknown', { ...first, onUnknown: 'retry' }, asked)).toBe('waiting')
    expect(phaseAfter('unknown', { ...first, onUnknown: 'fail' }, policy)).toBe('failed')
  })

  test('counts the attempts since somebody asked for the job again', () => {
    const reopened = { ...last, attempts: 5, attemptsForgiven: 4 }
    expect(afterFailure(reopened, failureOf('transient'), policy, at)?.phase).toEqual({
      kind: 'waiting',
      dueAt: now + 2_000,
    })
  })

  test('with an answer that was paid for and is no picture is made once more at most', () => {
    const phaseAt = (attempts: number) =>
      afterFailure({ ...first, attempts }, failureOf('transient', badAnswer), policy, at)?.phase.kind
    expect([phaseAt(1), phaseAt(2)]).toEqual(['waiting', 'failed'])
  })

  test('is made again after a full jitter below a ceiling that doubles and ends', () => {
    const delayMs = (attempts: number, chance: number) => {
      const terms = { ...policy, attemptsMax: 99 }
      const after = afterFailure({ ...first, attempts }, failureOf('transient'), terms, { now, chance })
      return after?.phase.kind === 'waiting' ? after.phase.dueAt - now : undefined
    }
    const { retryCeilingMs: most } = timing
    expect([1, 2, 3, 4, 5, 6, 7, 8, 9, 30].map((attempts) => delayMs(attempts, 1))).toEqual([
      4_000,
      8_000,
      16_000,
      32_000,
      64_000,
      128_000,
      256_000,
      most,
      most,
      most,
    ])
    expect(delayMs(1, 0)).toBe(0)
  })
})

describe('a call that could not be made', () => {
  const first = jobIn('slotted', { attempts: 3, postponements: 0 })
  const last = jobIn('slotted', { attempts: 0, postponements: 3 })

  const back: Next = (job) => unslotted(job)
  const later: Next = (job) => postponed(job, { dueAt: now + 2_000 })
  const fail: Next = (job, kind) =>
    failed(job, { finishedAt: now, failure: { kind, code: 'c', message: 'm' } })

  test.each<Row>([
    ['throttled', back, back],
    ['unavailable', back, back],
    ['refused', fail, fail],
    ['invalid', fail, fail],
    ['transient', later, fail],
    ['unknown', later, fail],
  ])('%s', (kind, atFirst, atLast) => {
    for (const [job, next] of [
      [first, atFirst],
      [last, atLast],
    ] as const) {
      const after = afterFailure(job, { kind, code: 'c', message: 'm' }, policy, at)
      expect(after).toBeDefined()
      expect(after).toEqual(next(job, kind))
      // Nothing was sent, so nothing was paid.
      expect(after).toMatchObject({ attempts: job.attempts, possiblyRepeated: 0, unsureMicroUsd: 0 })
    }
  })
})

test('a call that could not be made was not paid for, so that nobody has to decide', () => {
  const asked = { ...policy, onUnknown: 'fail' } as const
  expect(afterFailure(jobIn('slotted'), failureOf('unknown'), asked, at)?.phase.kind).toBe('waiting')
})

test('a job that somebody else has moved is left alone', () => {
  const moved = phaseKinds.filter((kind: PhaseKind) => kind !== 'slotted' && kind !== 'running')
  for (const kind of failureKinds) {
    for (const phase of moved) {
      expect(afterFailure(jobIn(phase), failureOf(kind), policy, at), `${kind}, ${phase}`).toBeUndefined()
    }
  }
})
