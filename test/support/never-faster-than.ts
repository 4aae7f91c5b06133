import { expect } from 'vitest'

/** The windows over which Azure counts the requests of an image deployment; 1 s at more than 60 a minute only. */
const windowsMs = [10_000, 60_000]

/**
 * The first law (design, section 7): over any rolling window, wherever it begins, there are never more starts than the
 * deployment's limit has in that time. Times are epoch milliseconds, in any order.
 */
export function assertNeverFasterThan(startsAt: readonly number[], { rpm }: { readonly rpm: number }): void {
  const starts = startsAt.toSorted((a, b) => a - b)
  for (const windowMs of windowsMs) {
    const allowed = Math.max(1, Math.ceil((rpm * windowMs) / 60_000))
    for (let i = 0; i + allowed < starts.length; i += 1) {
      const betweenMs = starts[i + allowed]! - starts[i]!
      expect(
        betweenMs,
        `start ${i + allowed} is number ${allowed + 1} within ${windowMs / 1_000} s at ${rpm} RPM`,
      ).toBeGreaterThanOrEqual(windowMs)
    }
  }
}
