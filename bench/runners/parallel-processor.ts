import { APIError } from 'openai'
import { pause } from '../progress.ts'
import type { Call } from './picture-call.ts'

/** What its settings are by default, but for the requests a minute. */
const attemptsMax = 5
const loopMs = 1
const pauseAfterRefusalMs = 15_000
const tokensPerMinute = 125_000
/** A prompt of this benchmark; pictures are not among the tokens that it counts. */
const tokensPerCall = 10

type Work = { readonly call: Call; attemptsLeft: number }

/**
 * The algorithm of the parallel processor in OpenAI's cookbook, written anew from its description: room for requests
 * and tokens grows with the time passed, up to a whole minute's; one call at most each millisecond; what failed comes
 * again before what is new, five attempts in all; after a refusal by the rate nothing starts for 15 s.
 */
export async function processInParallel(calls: readonly Call[], rpm: number): Promise<unknown> {
  const fresh = calls.map((call): Work => ({ call, attemptsLeft: attemptsMax })).values()
  const again: Work[] = []
  // The room is a whole minute's from the start.
  const context = { requests: rpm, tokens: tokensPerMinute, at: performance.now() }
  let refusedAt = -Infinity
  let underWay = 0
  let next: Work | undefined

  async function attempt(work: Work): Promise<void> {
    underWay += 1
    work.attemptsLeft -= 1
    try {
      await work.call()
    } catch (error) {
      if (error instanceof APIError && error.status === 429) refusedAt = performance.now()
      if (work.attemptsLeft > 0) again.push(work)
    } finally {
      underWay -= 1
    }
  }

  for (;;) {
    next ??= again.shift() ?? fresh.next().value
    const now = performance.now()
    const minutes = (now - context.at) / 60_000
    context.requests = Math.min(rpm, context.requests + minutes * rpm)
    context.tokens = Math.min(tokensPerMinute, context.tokens + minutes * tokensPerMinute)
    context.at = now
    if (next !== undefined && context.requests >= 1 && context.tokens >= tokensPerCall) {
      context.requests -= 1
      context.tokens -= tokensPerCall
      void attempt(next)
      next = undefined
    }
    if (next === undefined && underWay === 0 && again.length === 0) {
      next = fresh.next().value
      if (next === undefined) return undefined
    }
    await pause(loopMs)
    const restMs = refusedAt + pauseAfterRefusalMs - performance.now()
    if (restMs > 0) await pause(restMs)
  }
}
