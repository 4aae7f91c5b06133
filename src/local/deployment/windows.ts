/** The rate of a deployment: how many requests a minute, and the windows over which it is judged. */
export type RateRule = {
  readonly rpm: number
  readonly windowsMs: readonly number[]
  /** Whether a throttled request counts against the requests after it, as it does on Azure. */
  readonly countRejected: boolean
}

export type Judgement =
  { readonly kind: 'admitted' } | { readonly kind: 'throttled'; readonly retryAfterMs: number }

export type RateWindows = {
  /** Judges one request. Times are epoch or virtual milliseconds and must not go back. */
  arrive(request: { readonly arrivedAt: number; readonly rule: RateRule }): Judgement
}

/**
 * Rolling windows over the arrivals of one deployment.
 *
 * A request is throttled when the requests counted in (arrivedAt - window, arrivedAt], itself included, are more than
 * the limit of any window. The rule comes with each request, so that a changed quota judges the arrivals already seen.
 */
export function createRateWindows(): RateWindows {
  let arrivals: number[] = []

  return {
    arrive({ arrivedAt, rule }) {
      const isFull = rule.windowsMs.some((windowMs) => {
        const oldest = arrivals.at(-windowLimit(rule.rpm, windowMs))
        return oldest !== undefined && oldest > arrivedAt - windowMs
      })
      if (!isFull || rule.countRejected) arrivals.push(arrivedAt)
      arrivals = withoutExpired(arrivals, arrivedAt, rule)
      if (!isFull) return { kind: 'admitted' }
      return { kind: 'throttled', retryAfterMs: waitForRoom(arrivals, arrivedAt, rule) }
    },
  }
}

/** How many requests fit in a window. Never below one: how Azure rounds small quotas is not documented. */
export function windowLimit(rpm: number, windowMs: number): number {
  return Math.max(1, Math.ceil((rpm * windowMs) / 60_000))
}

function waitForRoom(arrivals: readonly number[], arrivedAt: number, rule: RateRule): number {
  const roomAt = rule.windowsMs.map((windowMs) => {
    const oldest = arrivals.at(-windowLimit(rule.rpm, windowMs))
    return oldest === undefined ? arrivedAt : oldest + windowMs
  })
  return Math.max(0, Math.max(...roomAt) - arrivedAt)
}

/** Copies only when half of the arrivals have expired, which keeps the cost of one arrival constant on average. */
function withoutExpired(arrivals: number[], arrivedAt: number, rule: RateRule): number[] {
  const horizon = arrivedAt - Math.max(...rule.windowsMs)
  const middle = arrivals[Math.floor(arrivals.length / 2)]
  if (middle === undefined || middle > horizon) return arrivals
  return arrivals.filter((at) => at > horizon)
}
