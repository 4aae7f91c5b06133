import { expect, test } from 'vitest'
import { batchOf, fairWeather } from './scenarios.ts'
import { simulate } from './world.ts'

test.each([
  ['7 s ahead and 4 s behind', [7_000, -4_000]],
  ['7 s ahead, 4 s behind, and right', [7_000, -4_000, 0]],
])('instances whose clocks are %s start together at the pace, and meet no 429', async (_, skewsMs) => {
  const skews = skewsMs.values()
  const { calls, jobs } = await simulate(
    fairWeather('clocks', {
      rpm: 60,
      instances: skewsMs.length,
      submissions: batchOf('big', 300),
      skewMs: () => skews.next().value!,
    }),
  )
  expect(calls.filter(({ outcome }) => outcome !== 'images')).toEqual([])
  expect(jobs.length).toBe(300)
  expect(jobs.filter(({ phase, attempts }) => phase.kind !== 'succeeded' || attempts !== 1)).toEqual([])
})
