import { describe, expect, test } from 'vitest'
import { batchState, countsOfLines, type BatchProgress } from '../../../src/core/batches/batch-progress.ts'
import type { JobCounts } from '../../../src/core/jobs/counters.ts'
import type { Decision } from '../../../src/core/budget/fairness.ts'
import { t0 } from '../sample.ts'

const none: JobCounts = { total: 0, waiting: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 }
const busy: JobCounts = { ...none, total: 3, waiting: 1, running: 1, succeeded: 1 }
const done: JobCounts = { ...none, total: 3, succeeded: 2, failed: 1 }
const decision = (kind: Decision['kind']): Decision => ({ kind, by: 'user', reason: 'why', at: t0 })
const results = {
  validatedAt: t0,
  total: 3,
  finalizingAt: t0,
  outputFileId: null,
  errorFileId: null,
}
const progress = {
  registering: { kind: 'registering', validatedAt: t0, total: 9, registered: 2 },
  registered: { kind: 'registered', validatedAt: t0, total: 3 },
  finalizing: { kind: 'finalizing', ...results },
  finished: { kind: 'finished', ...results, finishedAt: t0 },
} as const satisfies Record<string, BatchProgress>

describe('the state of a batch', () => {
  test.each<[BatchProgress | null, JobCounts, Decision['kind'] | null, string]>([
    [null, none, null, 'in_progress'],
    [null, busy, null, 'in_progress'],
    [null, done, null, 'completed'],
    [null, none, 'cancelled', 'cancelling'],
    [null, busy, 'cancelled', 'cancelling'],
    [null, done, 'cancelled', 'cancelled'],
    [null, busy, 'paused', 'in_progress'],
    [{ kind: 'validating' }, none, null, 'validating'],
    [{ kind: 'failed', failedAt: t0, faults: 1 }, none, null, 'failed'],
    [progress.registering, none, null, 'in_progress'],
    [progress.registering, done, null, 'in_progress'],
    [progress.registering, busy, 'cancelled', 'cancelling'],
    [progress.registered, busy, null, 'in_progress'],
    [progress.registered, done, null, 'finalizing'],
    [progress.registered, done, 'cancelled', 'cancelling'],
    [progress.finalizing, done, null, 'finalizing'],
    [progress.finalizing, done, 'cancelled', 'cancelling'],
    [progress.finished, done, null, 'completed'],
    [progress.finished, done, 'resumed', 'completed'],
    [progress.finished, done, 'cancelled', 'cancelled'],
  ])('%j with %j, %s: %s', (at, counts, kind, state) => {
    expect(batchState(at, { counts, decision: kind && decision(kind) })).toBe(state)
  })
})

describe('counts of a batch', () => {
  test('hold the lines that are no jobs yet, or never will be', () => {
    expect(countsOfLines(busy, { progress: progress.registering, decision: null })).toEqual({
      ...busy,
      total: 9,
      waiting: 7,
    })
    expect(countsOfLines(done, { progress: progress.registering, decision: decision('cancelled') })).toEqual({
      ...done,
      total: 9,
      cancelled: 6,
    })
  })

  test('are those of its jobs where no file is behind them, or all of it are jobs', () => {
    for (const at of [null, { kind: 'validating' }, progress.finished] as const) {
      expect(countsOfLines(busy, { progress: at, decision: null })).toEqual(busy)
    }
  })
})
