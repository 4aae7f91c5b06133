/** What the pipeline needs from the world. Every method may throw for a broken world; what is expected is returned. */

export type Clock = {
  now(): number
  /** Resolves at the given time or when the signal aborts, whichever is first; never rejects. */
  sleepUntil(at: number, signal?: AbortSignal): Promise<void>
}

/** A number in [0, 1). */
export type Chance = () => number
