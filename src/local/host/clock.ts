import { setTimeout as delay } from 'node:timers/promises'

/** The host's time, in milliseconds. Tests let it run faster, so that none of them waits for minutes. */
export type HostClock = {
  now(): number
  /** Waits, or until `signal` aborts, which is no error. */
  pause(ms: number, signal?: AbortSignal): Promise<void>
}

/** The machine's time, or that of a machine that lives `speed` times as fast. */
export function hostClock(speed = 1): HostClock {
  return {
    now: () => performance.now() * speed,
    async pause(ms, signal) {
      try {
        await delay(ms / speed, undefined, signal === undefined ? {} : { signal })
      } catch (error) {
        if (signal?.aborted !== true) throw error
      }
    },
  }
}

/** Resolves when the work has ended, or when its time is over; what the work throws passes up. */
export async function within(clock: HostClock, limitMs: number, work: Promise<unknown>): Promise<void> {
  const settled = new AbortController()
  try {
    await Promise.race([work, clock.pause(limitMs, settled.signal)])
  } finally {
    settled.abort()
  }
}
