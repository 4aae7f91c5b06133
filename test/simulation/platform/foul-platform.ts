import { chanceFrom } from '../../../src/local/deployment/chance.ts'
import { foulWeather } from '../scenarios.ts'
import { simulate, type Run } from '../world.ts'
import { platform } from './platform.ts'

/** Everything dies, fails and comes late, on instances that the platform starts, drains and takes away. */
export async function seedOnPlatform(seed: number): Promise<Run> {
  const place = platform(chanceFrom('foul platform', seed), {
    sampleMs: seed % 2 === 0 ? 5_000 : 10_000,
    coldMs: [2_000, 5_000, 15_000][seed % 3]!,
    drain: seed % 4 < 2 ? 'goes on' : 'aborts the newest',
  })
  return simulate({ ...foulWeather(seed), host: place.host })
}
