import { expect, test } from 'vitest'
import { foulWeather } from './scenarios.ts'
import { simulate } from './world.ts'

const seedsCount = 200
/** One seed to look at: `SEED=17 npx vitest run test/simulation`. */
const onlySeed = process.env['SEED']

test('every law holds whatever dies, fails or comes late', async () => {
  const seeds =
    onlySeed === undefined ? Array.from({ length: seedsCount }, (_, seed) => seed) : [Number(onlySeed)]
  const failed: { seed: number; error: unknown }[] = []
  for (const seed of seeds) {
    try {
      await simulate(foulWeather(seed))
    } catch (error) {
      failed.push({ seed, error })
    }
  }
  for (const { seed, error } of failed) console.error(`seed ${seed}:`, error)
  expect(
    failed.map(({ seed }) => seed),
    'seeds that break a law',
  ).toEqual([])
})
