import { randomUUID } from 'node:crypto'
import type { Child } from '../../src/local/child.ts'
import { World } from '../world.ts'
import { outcomesIn } from './outcomes.ts'
import type { Runner, Running, Task } from './runner.ts'

export type BullmqOptions = Omit<Task, 'deployment'> & {
  readonly endpoint: string
  readonly folder: string
  readonly redisPort: number
  readonly queue: string
  readonly limiter: { readonly max: number; readonly duration: number }
  /** One of the processes adds the list to the queue; jobs that are there already are not added again. */
  readonly isProducer: boolean
}

/** BullMQ's limiter on a Redis, which all runs share, each with a queue of its own. */
export function bullmqRunners(redisPort: number): readonly Runner[] {
  return ways.map(({ name, processes, limiterOf }) => ({
    name: `BullMQ, ${name}, ${processes} worker${processes === 1 ? '' : 's'}`,
    processes,
    prepare: async (task) => prepare(task, { redisPort, processes, limiter: limiterOf(task.rpm) }),
  }))
}

type Way = {
  readonly name: string
  readonly processes: number
  readonly limiterOf: (rpm: number) => BullmqOptions['limiter']
}

const perMinute = { name: 'RPM per 60 s', limiterOf: (rpm: number) => ({ max: rpm, duration: 60_000 }) }
const perSpacing = { name: '1 per spacing', limiterOf: (rpm: number) => ({ max: 1, duration: 60_000 / rpm }) }

// A limiter that lets a minute's calls go at once does so with any number of workers.
const ways: readonly Way[] = [
  { ...perMinute, processes: 1 },
  { ...perSpacing, processes: 1 },
  { ...perSpacing, processes: 4 },
]

async function prepare(
  { deployment, jobs, rpm }: Task,
  { processes, ...given }: Pick<BullmqOptions, 'redisPort' | 'limiter'> & { readonly processes: number },
): Promise<Running> {
  const world = new World()
  try {
    const folder = await world.folder()
    const { endpoint } = deployment
    const common = { ...given, jobs, rpm, endpoint, folder, queue: `bench-${randomUUID()}` }
    const start = async (isUrgent: boolean): Promise<readonly Child[]> =>
      Promise.all(
        Array.from({ length: processes }, async (_, index) => {
          const options: BullmqOptions = { ...common, isProducer: index === 0 }
          return world.child({
            isUrgent,
            path: 'bench/runners/bullmq-command.ts',
            args: [JSON.stringify(options)],
            ready: /^(bullmq: ready)$/,
          })
        }),
      )
    let children = await start(false)
    const go = async (): Promise<void> => {
      for (const child of children) child.send('go')
    }
    return {
      go,
      async isOver() {
        // Workers wait for more when they have come to the end.
        const { finished, failed } = await outcomesIn(folder)
        return finished + failed >= jobs || children.every((child) => child.hasEnded())
      },
      state: async () => ({ ...(await outcomesIn(folder)), labelled: undefined }),
      async kill() {
        await Promise.all(children.map(async (child) => child.kill()))
      },
      async again() {
        children = await start(true)
        await go()
      },
      [Symbol.asyncDispose]: async () => world[Symbol.asyncDispose](),
    }
  } catch (error) {
    await world[Symbol.asyncDispose]()
    throw error
  }
}
