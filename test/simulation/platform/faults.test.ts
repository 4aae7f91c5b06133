import { expect, test } from 'vitest'
import { chanceFrom } from '../../../src/local/deployment/chance.ts'
import { foulWeather } from '../scenarios.ts'
import { simulate } from '../world.ts'
import { platform } from './platform.ts'

const seeds = Array.from({ length: 80 }, (_, seed) => seed)

test(
  'every law holds where instances come and go, whatever else dies, fails or comes late',
  {
    timeout: 300_000,
  },
  async () => {
    const failed: { seed: number; error: unknown }[] = []
    for (const seed of seeds) {
      const place = platform(chanceFrom('foul platform', seed), {
        sampleMs: seed % 2 === 0 ? 5_000 : 10_000,
        coldMs: [2_000, 5_000, 15_000][seed % 3]!,
        drain: seed % 4 < 2 ? 'goes on' : 'aborts the newest',
      })
      try {
        await simulate({ ...foulWeather(seed), host: place.host })
      } catch (error) {
        failed.push({ seed, error })
      }
    }
    for (const { seed, error } of failed) console.error(`seed ${seed}:`, error)
    expect(failed.map(({ seed }) => seed)).toEqual([])
  },
)
