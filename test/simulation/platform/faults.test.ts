import { expect, test } from 'vitest'
import { seedOnPlatform } from './foul-platform.ts'

const seeds = Array.from({ length: 20 }, (_, seed) => seed)

/** `npm run simulate` runs more of them. */
test(
  'every law holds where instances come and go, whatever else dies, fails or comes late',
  {
    timeout: 300_000,
  },
  async () => {
    const failed: { seed: number; error: unknown }[] = []
    for (const seed of seeds) {
      try {
        await seedOnPlatform(seed)
      } catch (error) {
        failed.push({ seed, error })
      }
    }
    for (const { seed, error } of failed) console.error(`seed ${seed}:`, error)
    expect(failed.map(({ seed }) => seed)).toEqual([])
  },
)
