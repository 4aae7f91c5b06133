import { expect, test } from 'vitest'
import { assertEqualShares } from '../support/laws.ts'
import { batchOf, fairWeather } from './scenarios.ts'
import { simulate, type Run } from './world.ts'

test('a batch of 10 that comes after one of 500 is done within some 20 slots', async () => {
  const rpm = 60
  const smallAfterMs = 60_000
  const run = await simulate(
    fairWeather('small behind big', {
      rpm,
      instances: 2,
      submissions: [...batchOf('big', 500), ...batchOf('small', 10, smallAfterMs)],
    }),
  )
  const last = startsOf(run, 'small').at(-1)!
  const cameAt = run.startedAt + smallAfterMs
  // Slots up to the horizon were given away before it came; from then on every second one is its own.
  const horizonMs = 15_000
  const slotsMs = (last - cameAt - horizonMs) / (60_000 / (rpm * 0.98))
  expect(slotsMs).toBeLessThanOrEqual(24)
})

test('a batch that was there alone has no claim on what another is owed', async () => {
  const run = await simulate(
    fairWeather('equals', {
      rpm: 60,
      instances: 2,
      submissions: ['a', 'b', 'c', 'd'].flatMap((batch) => batchOf(batch, 100)),
    }),
  )
  // While all four have jobs waiting.
  const until = Math.min(...['a', 'b', 'c', 'd'].map((batch) => startsOf(run, batch).at(-1)!))
  const shares = ['a', 'b', 'c', 'd'].map((batch) => startsOf(run, batch).filter((at) => at < until).length)
  expect(shares.reduce((all, share) => all + share, 0)).toBeGreaterThan(380)
  assertEqualShares(shares)
})

test('many batches of one key have no claim on what one batch of another is owed', async () => {
  const of = (batch: string, count: number, apiKey: string) =>
    batchOf(batch, count).map((submission) => ({ ...submission, via: 'http' as const, apiKey }))
  const many = ['a', 'b', 'c', 'd', 'e']
  const run = await simulate(
    fairWeather('keys', {
      rpm: 60,
      instances: 2,
      submissions: [...many.flatMap((batch) => of(batch, 30, 'crowd')), ...of('one', 150, 'loner')],
    }),
  )
  const until = Math.min(...[...many, 'one'].map((batch) => startsOf(run, batch).at(-1)!))
  const shareOf = (batch: string) => startsOf(run, batch).filter((at) => at < until).length
  const crowd = many.reduce((sum, batch) => sum + shareOf(batch), 0)
  expect(crowd + shareOf('one')).toBeGreaterThan(270)
  assertEqualShares([crowd, shareOf('one')])
})

function startsOf({ calls }: Run, batch: string): number[] {
  return calls
    .filter(({ prompt }) => prompt.startsWith(`${batch},`))
    .map(({ startedAt }) => startedAt)
    .sort((a, b) => a - b)
}
