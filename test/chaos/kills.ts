import { setTimeout as wait } from 'node:timers/promises'
import { chanceFrom } from '../../src/local/deployment/chance.ts'
import type { Hosts } from './hosts.ts'

export type Kills = {
  /** When each host was killed, in epoch milliseconds. */
  readonly times: readonly number[]
  /** No more kills from here on; resolves when the last is done. */
  end(): Promise<void>
}

/** From one kill to the next: short enough that hosts die in the middle of everything, long enough to get anywhere. */
const gapMs = { min: 2_000, max: 6_000 }

/**
 * Kills one host after the other, at times and in an order that the seed decides. `spared`: so many are left ready
 * whatever the seed says; a machine that is slow to start hosts would else end with none, and nothing to try.
 */
export function startKills(hosts: Hosts, { seed, spared }: { seed: number; spared: number }): Kills {
  const chance = chanceFrom('kills', seed)
  const ending = new AbortController()
  const times: number[] = []
  const killing = (async () => {
    for (;;) {
      const waitMs = gapMs.min + chance() * (gapMs.max - gapMs.min)
      const drawn = chance()
      await wait(waitMs, undefined, { signal: ending.signal }).catch((error: unknown) => {
        if (!ending.signal.aborted) throw error
      })
      if (ending.signal.aborted) return
      if (hosts.ready().length > spared && (await hosts.kill(drawn))) times.push(Date.now())
    }
  })()
  return {
    times,
    async end() {
      ending.abort()
      await killing
    },
  }
}
