import type { HttpRequest } from '@azure/functions'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { Context } from '../pipeline/context.ts'
import type { ApiError } from './reply.ts'

/**
 * The memory that an instance has for requests while they come. It is not that of the jobs it runs: who sends slowly, or
 * much, must not keep them waiting.
 */
export type Hands = {
  /** Whether there is as much left; it is then taken. */
  take(bytes: number): boolean
  /** To be called when the request is in hand no longer. */
  empty(): void
}

export function handsOf({ capacity }: Pick<Context, 'capacity'>): Hands {
  const releases: (() => void)[] = []
  return {
    take(bytes) {
      const release = capacity.uploads.take(bytes)
      if (release !== undefined) releases.push(release)
      return release !== undefined
    },
    empty() {
      for (const release of releases.splice(0)) release()
    },
  }
}

/** Takes what a file holds in memory while it goes to storage: blocks on their way, and the one that is being filled. */
export function takeBlocks(hands: Hands, { headers }: Pick<HttpRequest, 'headers'>): boolean {
  const length = headers.get('content-length') ?? ''
  const sizeBytes = /^\d{1,15}$/.test(length) ? Number(length) : Infinity
  return hands.take(Math.min(sizeBytes, (limits.fileBlocksAtOnce + 1) * limits.fileBlockBytes))
}

/** Nothing was begun, so it may be sent again. */
export const handsFull: ApiError = {
  status: 503,
  code: 'instance_full',
  message: `this instance has as many large requests in hand as its memory allows; try again in ${timing.syncFullMs / 1_000} s`,
  retryAfterMs: timing.syncFullMs,
}
