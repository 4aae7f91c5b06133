/** The real host's shortest wait between two polls of a queue (sdk-net, QueuePollingIntervals). */
const minDelayMs = 100

/** How far chance moves a step of the back-off, either way (sdk-net, RandomizedExponentialBackoffStrategy). */
const spread = 0.2

/**
 * How long to wait after a poll that found nothing: the shortest time at first, then about twice as long each time,
 * up to `maxDelayMs`. Found messages `reset` it.
 */
export function createPollDelay(maxDelayMs: number, chance: () => number = Math.random) {
  let emptyPolls = 0
  return {
    next(): number {
      const stepMs = minDelayMs * 2 ** (emptyPolls - 1) * (1 - spread + 2 * spread * chance())
      const delayMs = emptyPolls === 0 ? minDelayMs : minDelayMs + stepMs
      // Stop counting at the longest wait: the number would leave the range of a double one day.
      if (delayMs < maxDelayMs) emptyPolls += 1
      return Math.min(delayMs, maxDelayMs)
    },
    reset(): void {
      emptyPolls = 0
    },
  }
}
