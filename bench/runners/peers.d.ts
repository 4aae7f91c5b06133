/**
 * The little of the peers that the runners use. The root's type check runs without bench/node_modules, where the
 * packages' own declarations are.
 */
declare module 'p-limit' {
  export default function pLimit(
    concurrency: number,
  ): <Result>(task: () => Promise<Result>) => Promise<Result>
}

declare module 'p-queue' {
  export default class PQueue {
    constructor(options: {
      readonly interval: number
      readonly intervalCap: number
      readonly strict?: boolean
    })
    add<Result>(task: () => Promise<Result>): Promise<Result>
  }
}

declare module 'bottleneck' {
  export default class Bottleneck {
    constructor(
      options:
        | { readonly minTime: number }
        | {
            readonly reservoir: number
            readonly reservoirRefreshAmount: number
            readonly reservoirRefreshInterval: number
          },
    )
    schedule<Result>(task: () => Promise<Result>): Promise<Result>
  }
}

declare module 'bullmq' {
  import type { Redis } from 'ioredis'

  type Job<Data> = { readonly data: Data; readonly attemptsMade: number }

  export class Queue<Data> {
    constructor(name: string, options: { readonly connection: Redis })
    on(event: 'error', listener: (error: Error) => void): this
    waitUntilReady(): Promise<unknown>
    rateLimit(waitMs: number): Promise<void>
    addBulk(
      jobs: readonly {
        readonly name: string
        readonly data: Data
        readonly opts: {
          readonly jobId: string
          readonly attempts: number
          readonly backoff: { readonly type: string; readonly delay: number }
        }
      }[],
    ): Promise<unknown>
  }

  export class Worker<Data> {
    static RateLimitError(): Error
    constructor(
      queue: string,
      process: (job: Job<Data>) => Promise<unknown>,
      options: {
        readonly connection: Redis
        readonly concurrency: number
        readonly limiter: { readonly max: number; readonly duration: number }
      },
    )
    on(event: 'error', listener: (error: Error) => void): this
    on(event: 'failed', listener: (job: Job<Data> | undefined, error: Error) => void): this
  }
}

declare module 'ioredis' {
  export class Redis {
    constructor(options: {
      readonly host: string
      readonly port: number
      readonly maxRetriesPerRequest: null
    })
    quit(): Promise<unknown>
  }
}
