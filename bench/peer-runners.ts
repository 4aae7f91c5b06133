import Bottleneck from 'bottleneck'
import pLimit from 'p-limit'
import PQueue from 'p-queue'

export type Task = () => Promise<unknown>

/** Runs all tasks in a peer's own way, within a limit of so many requests a minute as far as it can be told of one. */
export type Runner = (tasks: readonly Task[], rpm: number) => Promise<unknown>

export const runners: Readonly<Record<string, Runner>> = {
  'openai in p-limit(10)': async (tasks) => {
    const limit = pLimit(10)
    return Promise.allSettled(tasks.map(async (task) => limit(task)))
  },
  'p-queue, RPM per 60 s': async (tasks, rpm) => {
    const queue = new PQueue({ interval: 60_000, intervalCap: rpm })
    return Promise.allSettled(tasks.map(async (task) => queue.add(task)))
  },
  'p-queue, 1 per spacing': async (tasks, rpm) => {
    const queue = new PQueue({ interval: 60_000 / rpm, intervalCap: 1 })
    return Promise.allSettled(tasks.map(async (task) => queue.add(task)))
  },
  'bottleneck, minTime = spacing': async (tasks, rpm) => {
    const limiter = new Bottleneck({ minTime: 60_000 / rpm })
    return Promise.allSettled(tasks.map(async (task) => limiter.schedule(task)))
  },
  'bottleneck, reservoir per 60 s': async (tasks, rpm) => {
    const limiter = new Bottleneck({
      reservoir: rpm,
      reservoirRefreshAmount: rpm,
      reservoirRefreshInterval: 60_000,
    })
    return Promise.allSettled(tasks.map(async (task) => limiter.schedule(task)))
  },
}
