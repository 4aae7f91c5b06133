import Bottleneck from 'bottleneck'
import pLimit from 'p-limit'
import PQueue from 'p-queue'
import { latencyMs } from '../work.ts'
import { processInParallel } from './parallel-processor.ts'
import type { Call } from './picture-call.ts'

/** Runs all calls in a peer's own way, within a limit of so many requests a minute as far as it can be told of one. */
type Way = {
  /** Retries of the `openai` package; its default where nothing is said. */
  readonly maxRetries?: number
  readonly run: (calls: readonly Call[], rpm: number) => Promise<unknown>
}

export const ways: Readonly<Record<string, Way>> = {
  'openai in p-limit': { run: inLimit },
  'openai in p-limit, no retries': { maxRetries: 0, run: inLimit },
  'p-queue, RPM per 60 s': {
    run: async (calls, rpm) => inQueue(calls, { interval: 60_000, intervalCap: rpm }),
  },
  'p-queue, RPM per 60 s, strict': {
    run: async (calls, rpm) => inQueue(calls, { interval: 60_000, intervalCap: rpm, strict: true }),
  },
  'p-queue, 1 per spacing': {
    run: async (calls, rpm) => inQueue(calls, { interval: 60_000 / rpm, intervalCap: 1 }),
  },
  'bottleneck, minTime = spacing': {
    run: async (calls, rpm) => inBottleneck(calls, { minTime: 60_000 / rpm }),
  },
  'bottleneck, reservoir per 60 s': {
    run: async (calls, rpm) =>
      inBottleneck(calls, {
        reservoir: rpm,
        reservoirRefreshAmount: rpm,
        reservoirRefreshInterval: 60_000,
      }),
  },
  // It sends again by itself.
  'cookbook, parallel processor': { maxRetries: 0, run: processInParallel },
}

/** A number at once is all it can be told: as many as are under way on average at exactly the limit. */
async function inLimit(calls: readonly Call[], rpm: number): Promise<unknown> {
  const meanMs = (latencyMs.min + latencyMs.max) / 2
  const limit = pLimit(Math.ceil((rpm * meanMs) / 60_000))
  return Promise.allSettled(calls.map(async (call) => limit(call)))
}

async function inQueue(
  calls: readonly Call[],
  options: ConstructorParameters<typeof PQueue>[0],
): Promise<unknown> {
  const queue = new PQueue(options)
  return Promise.allSettled(calls.map(async (call) => queue.add(call)))
}

async function inBottleneck(
  calls: readonly Call[],
  options: ConstructorParameters<typeof Bottleneck>[0],
): Promise<unknown> {
  const limiter = new Bottleneck(options)
  return Promise.allSettled(calls.map(async (call) => limiter.schedule(call)))
}
