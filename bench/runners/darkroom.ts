import { isNoAnswer } from '../json.ts'
import { answered } from '../requests.ts'
import { batchCounts, putJobs } from '../jobs.ts'
import { World, type Host } from '../world.ts'
import type { Runner, Running, Task } from './runner.ts'

export function darkroomRunner(hosts: number): Runner {
  return {
    name: `Darkroom, ${hosts} host${hosts === 1 ? '' : 's'}`,
    processes: hosts,
    prepare: async (task) => prepareDarkroom(task, hosts),
  }
}

export type DarkroomRunning = Running & { hosts(): readonly Host[] }

export const batch = 'bench'

/** A log that has not grown for this long may have come to its end without every picture. */
const quietMs = 5_000

/** Hosts on an Azurite of their own, which outlives them. The jobs come through the queue. */
export async function prepareDarkroom(
  { deployment, jobs, rpm }: Task,
  count: number,
): Promise<DarkroomRunning> {
  const world = new World()
  try {
    const storage = await world.storage()
    let hosts = await world.hosts(count, { storage, deployment, rpm })
    const counts = async (): ReturnType<typeof batchCounts> => {
      const [host] = hosts
      if (host === undefined) throw new Error('there is no host')
      return batchCounts(host, batch)
    }
    let seen = { requests: 0, at: performance.now() }
    return {
      hosts: () => hosts,
      go: async () => putJobs(storage.connectionString, { batch, count: jobs }),
      async isOver() {
        // The deployment's log is watched and not the batch, so that watching costs the pipeline nothing.
        const log = await deployment.log()
        if (log.length !== seen.requests) seen = { requests: log.length, at: performance.now() }
        if (answered(log) < jobs && performance.now() < seen.at + quietMs) return false
        try {
          const { succeeded, failed } = await counts()
          return succeeded + failed >= jobs
        } catch (error) {
          // A host that is too busy now is asked again.
          if (isNoAnswer(error)) return false
          throw error
        }
      },
      async state() {
        const { succeeded, failed, possiblyRepeated } = await counts()
        return { finished: succeeded, failed, labelled: possiblyRepeated }
      },
      async kill() {
        await Promise.all(hosts.map(async ({ child }) => child.kill()))
      },
      async again() {
        hosts = await world.hosts(count, { storage, deployment, rpm, isUrgent: true })
      },
      [Symbol.asyncDispose]: async () => world[Symbol.asyncDispose](),
    }
  } catch (error) {
    await world[Symbol.asyncDispose]()
    throw error
  }
}
