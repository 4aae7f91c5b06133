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
    constructor(options: { readonly interval: number; readonly intervalCap: number })
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
