import { World } from '../world.ts'
import { outcomesIn } from './outcomes.ts'
import type { Runner, Running, Task } from './runner.ts'

export type ScriptOptions = Omit<Task, 'deployment'> & {
  readonly name: string
  readonly endpoint: string
  readonly folder: string
}

/** The names are those of script-ways.ts, which only the scripts' own processes load. */
export const scripts: readonly Runner[] = [
  'openai in p-limit',
  'openai in p-limit, no retries',
  'p-queue, RPM per 60 s',
  'p-queue, RPM per 60 s, strict',
  'p-queue, 1 per spacing',
  'bottleneck, minTime = spacing',
  'bottleneck, reservoir per 60 s',
  'cookbook, parallel processor',
].map((name) => ({ name, processes: 1, prepare: async (task) => prepare(name, task) }))

/** One process, which ends when the script has come to its end. It keeps nothing but the pictures. */
async function prepare(name: string, { deployment, jobs, rpm }: Task): Promise<Running> {
  const world = new World()
  try {
    const folder = await world.folder()
    const options: ScriptOptions = { name, jobs, rpm, endpoint: deployment.endpoint, folder }
    const start = async (isUrgent: boolean): ReturnType<World['child']> =>
      world.child({
        isUrgent,
        path: 'bench/runners/script-command.ts',
        args: [JSON.stringify(options)],
        ready: /^(script: ready)$/,
      })
    let child = await start(false)
    return {
      go: async () => child.send('go'),
      isOver: async () => child.hasEnded(),
      state: async () => ({ ...(await outcomesIn(folder)), labelled: undefined }),
      kill: async () => child.kill(),
      async again() {
        child = await start(true)
        child.send('go')
      },
      [Symbol.asyncDispose]: async () => world[Symbol.asyncDispose](),
    }
  } catch (error) {
    await world[Symbol.asyncDispose]()
    throw error
  }
}
