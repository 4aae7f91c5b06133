import { hostClock, type HostClock } from './host/clock.ts'
import type { LocalHost } from './host/host.ts'

/** A host that is started again when it has ended itself, at the same address, as a platform does. */
export type SupervisedHost = Omit<LocalHost, 'endedItself'>

/** The wait before a host is started again: longer each time, until one has run for a while. */
const restartFirstMs = 1_000
const restartMaxMs = 60_000
const calmMs = 120_000

/** Throws when the first start fails: then there is something to mend. `start` gets the port, 0 for any free one. */
export async function superviseHost(options: {
  readonly port: number
  readonly start: (port: number) => Promise<LocalHost>
  readonly clock?: HostClock
}): Promise<SupervisedHost> {
  const { start, clock = hostClock() } = options
  const stopping = new AbortController()
  let host = await start(options.port)
  const { url } = host
  let restartMs = restartFirstMs
  const kept = keep()

  async function keep(): Promise<void> {
    while (!stopping.signal.aborted) {
      const startedAt = clock.now()
      const why = await Promise.race([host.endedItself, stopped()])
      if (why === undefined) return
      if (clock.now() - startedAt >= calmMs) restartMs = restartFirstMs
      await restart(why)
    }
  }

  async function restart(ended: string): Promise<void> {
    for (let why = ended; !stopping.signal.aborted;) {
      console.error(`darkroom: ${why}; the host is started again in ${restartMs / 1_000} s`)
      await clock.pause(restartMs, stopping.signal)
      restartMs = Math.min(2 * restartMs, restartMaxMs)
      if (stopping.signal.aborted) return
      try {
        host = await start(Number(new URL(url).port))
        return
      } catch (error) {
        why = String(error)
      }
    }
  }

  async function stopped(): Promise<undefined> {
    return new Promise((resolve) => {
      stopping.signal.addEventListener('abort', () => resolve(undefined), { once: true })
    })
  }

  /** The host that runs now, or ran last: ending that one again changes nothing. */
  async function last(): Promise<LocalHost> {
    stopping.abort()
    await kept
    return host
  }

  return {
    url,
    terminate: async () => (await last()).terminate(),
    stop: async (how) => (await last()).stop(how),
    measure: async () => host.measure(),
  }
}
