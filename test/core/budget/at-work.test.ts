import { expect, test } from 'vitest'
import { isColdWake, jobEnded, jobTaken, neverAtWork } from '../../../src/core/budget/at-work.ts'
import { timing } from '../../../src/core/timing.ts'

const t0 = Date.UTC(2026, 0, 5, 12)
const first = jobTaken(neverAtWork, { now: t0, inHand: 0 })

test('an instance that has just started is at work from its first job on', () => {
  expect(first.since).toBe(t0)
  expect(jobTaken(first, { now: t0 + 1, inHand: 1 }).since).toBe(t0)
})

test('what became visible before is a cold wake, and what comes later is none', () => {
  expect(isColdWake(first, t0 - 1)).toBe(true)
  expect(isColdWake(first, t0)).toBe(false)
  expect(isColdWake(neverAtWork, t0)).toBe(true)
})

test('work goes on while a job is in hand, however long', () => {
  const busy = jobTaken(first, { now: t0 + 10 * timing.restMs, inHand: 1 })
  expect(busy.since).toBe(t0)
})

test('it begins anew after a rest, and not sooner', () => {
  const rested = jobEnded(first, t0 + 60_000)
  const again = (now: number): number => jobTaken(rested, { now, inHand: 0 }).since
  expect(again(t0 + 60_000 + timing.restMs)).toBe(t0)
  const after = t0 + 60_000 + timing.restMs + 1
  expect(again(after)).toBe(after)
})
