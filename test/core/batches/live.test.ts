import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { batchState } from '../../../src/core/batches/batch-progress.ts'
import { keyOf } from '../../../src/core/jobs/keys.ts'
import {
  inOrder,
  isOver,
  liveId,
  mergeable,
  parseLiveId,
  placeOf,
  type LiveJob,
  type LivePlace,
} from '../../../src/core/batches/live.ts'

const time = fc.integer({ min: 0, max: 4_102_444_800_000_000 }).map((micros) => micros / 1_000)
const key = fc.string({ unit: 'grapheme', maxLength: 40 }).map((id) => keyOf({ kind: 'custom-id', id }))

describe('the id of an event', () => {
  it('tells its place, in letters that headers and URLs take', () => {
    const places = fc.oneof(
      fc.record({ kind: fc.constant('job' as const), at: time, key: fc.oneof(key, fc.constant('')) }),
      fc.record({ kind: fc.constant('end' as const), at: time }),
    )
    fc.assert(
      fc.property(places, (place: LivePlace) => {
        const id = liveId(place)
        expect(id).toMatch(/^[A-Za-z0-9._~-]+$/)
        expect(parseLiveId(id)).toEqual(place)
      }),
    )
  })

  it('is of no other form', () => {
    for (const id of [
      '',
      '.',
      'end',
      'end.',
      'end.x',
      '1',
      '1.a b',
      '1.a|b',
      `1.${'k'.repeat(201)}`,
      '1e9.a',
      '-1.a',
      '99999999999999999.a',
      'end.99999999999999999',
    ])
      expect(parseLiveId(id)).toBeUndefined()
    fc.assert(
      fc.property(fc.string(), (id) => {
        const place = parseLiveId(id)
        if (place !== undefined) expect(Number.isFinite(place.at)).toBe(true)
      }),
    )
  })
})

describe('finished jobs', () => {
  const job = (finishedAt: number, key: string): LiveJob => ({
    key,
    kind: 'succeeded',
    finishedAt,
    failure: null,
  })

  it('go by time, and those of one moment by key', () => {
    const jobs = [job(2, 'a'), job(1, 'b'), job(1, 'a'), job(1, 'a')].sort(inOrder)
    expect(jobs.map((each) => liveId(placeOf(each)))).toEqual(['1000.a', '1000.a', '1000.b', '2000.a'])
  })

  it('of several lists are merged only as far as all of them are read', () => {
    const lists = [
      { jobs: [job(1, 'a'), job(5, 'a')], isWhole: false },
      { jobs: [job(2, 'b'), job(3, 'b')], isWhole: false },
      { jobs: [job(4, 'c'), job(9, 'c')], isWhole: true },
      { jobs: [], isWhole: true },
    ]
    expect(mergeable(lists).map(({ finishedAt }) => finishedAt)).toEqual([1, 2, 3])
    expect(mergeable(lists.map(({ jobs }) => ({ jobs, isWhole: true })))).toHaveLength(6)
  })
})

it('a batch is over in three states', () => {
  const counts = { total: 1, waiting: 0, running: 0, succeeded: 1, failed: 0, cancelled: 0 }
  const decision = { kind: 'cancelled', by: 'user', reason: '', at: 1 } as const
  expect(isOver(batchState(null, { decision: null, counts }))).toBe(true)
  expect(isOver(batchState(null, { decision, counts }))).toBe(true)
  expect(isOver(batchState({ kind: 'failed', failedAt: 1, faults: 1 }, { decision: null, counts }))).toBe(
    true,
  )
  expect(isOver(batchState({ kind: 'validating' }, { decision: null, counts }))).toBe(false)
})
