import type { Child } from '../../src/local/child.ts'

/** As many hosts as were asked for, each replaced at once when it is killed. */
export type Hosts = {
  /** Those that have said they are ready, the newest last. */
  ready(): readonly Child[]
  /** Kills one of those that are ready, by a number in [0, 1); false when none is. */
  kill(drawn: number): Promise<boolean>
  /** Resolves when every host is ready. */
  allReady(): Promise<void>
  /** Asks all to stop. */
  stop(): Promise<void>
  /** Process ids of all that were ever started. */
  pids(): readonly number[]
  /** What was seen of hosts that did not start, or ended without having been killed. */
  crashes(): readonly string[]
  /** Errors that hosts have logged. */
  errors(): readonly string[]
}

export async function startHosts(count: number, startOne: () => Promise<Child>): Promise<Hosts> {
  const all: Child[] = []
  const ready: Child[] = []
  const starting = new Set<Promise<void>>()
  const crashes: string[] = []
  let isStopping = false

  async function start(): Promise<void> {
    const child = await startOne()
    all.push(child)
    ready.push(child)
    void child.ended.then(() => {
      if (!ready.includes(child) || isStopping) return
      ready.splice(ready.indexOf(child), 1)
      crashes.push(`host ${child.pid} ended by itself: ${child.troubles().slice(-5).join(' | ')}`)
      replace()
    })
  }

  function replace(): void {
    const started = start()
      .catch((error: unknown) => {
        if (!isStopping) crashes.push(String(error))
      })
      .finally(() => starting.delete(started))
    starting.add(started)
  }

  async function allReady(): Promise<void> {
    while (starting.size > 0) await Promise.all(starting)
  }

  for (let index = 0; index < count; index += 1) replace()
  await allReady()

  return {
    ready: () => ready,
    async kill(drawn) {
      const [victim] = ready.splice(Math.floor(drawn * ready.length), 1)
      if (victim === undefined) return false
      await victim.kill()
      replace()
      return true
    },
    allReady,
    async stop() {
      isStopping = true
      await allReady()
      await Promise.all(ready.map(async (child) => child.stop()))
    },
    pids: () => all.map(({ pid }) => pid),
    crashes: () => crashes,
    errors: () =>
      all.flatMap((child) => child.troubles().filter((line) => /"level":"(error|critical)"/.test(line))),
  }
}
