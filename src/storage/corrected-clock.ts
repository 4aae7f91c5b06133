import { correctionMs, narrowed, type DateSeen, type OffsetRange } from '../core/clock-offset.ts'
import type { Clock } from '../ports/clock.ts'
import type { Log } from '../ports/log.ts'

export type CorrectedClock = Clock & {
  /** Takes notice of an answer of the service; its times are the machine's, not corrected. */
  readonly heard: (seen: DateSeen) => void
}

/** A correction that changes by less is a better measurement, not news. */
const newsMs = 1_000

/**
 * Storage's time, as far as its answers tell it; the machine's own where the two agree.
 *
 * A correction changes in steps. Most of it comes into force before anything is held, because an instance asks for its
 * tables and queues before it takes work; what follows are better measurements, of less than a second. A step during a
 * hold does no harm:
 * - Back: who sleeps looks again when the timer goes off, and sleeps on. What was read just before counts as fresh for
 *   longer by the step.
 * - Forward: who sleeps wakes too late by the step, and a worker that is late takes a fresh slot: it never starts at
 *   will.
 * A start therefore lies at its slot by the clock of that moment. Starts on both sides of a step forward come closer
 * together by it, once, which is what the correction is for: so far they had been late for everybody else.
 */
export function correctedClock(machine: Clock, log: Log): CorrectedClock {
  let range: OffsetRange | undefined
  let inForceMs = 0
  let toldMs = 0

  function tell(): void {
    const isNews = (inForceMs === 0) !== (toldMs === 0) || Math.abs(inForceMs - toldMs) > newsMs
    if (!isNews) return
    toldMs = inForceMs
    log.event('clock_corrected', { correctionMs: Math.round(inForceMs) })
  }

  return {
    now: () => machine.now() + inForceMs,
    async sleepUntil(at, signal) {
      for (;;) {
        await machine.sleepUntil(at - inForceMs, signal)
        // Set back meanwhile, or corrected: it is not yet time.
        const isEarly = machine.now() < at - inForceMs
        if (!isEarly || signal?.aborted === true) return
      }
    },
    heard(seen) {
      range = narrowed(range, seen)
      if (range === undefined) return
      inForceMs = correctionMs(range, inForceMs)
      tell()
    },
  }
}
