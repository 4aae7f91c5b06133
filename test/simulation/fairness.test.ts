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

function startsOf({ calls }: Run, batch: string): number[] {
  return calls
    .filter(({ prompt }) => prompt.startsWith(`${batch},`))
    .map(({ startedAt }) => startedAt)
    .sort((a, b) => a - b)
}
