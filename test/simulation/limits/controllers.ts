import {
  newLevel,
  passed,
  resumeGapMs,
  rpmInForce,
  told,
  type Limits,
} from '../../../src/core/budget/level.ts'
import { opinion } from '../../../src/core/budget/diagnosis.ts'
import { refused } from '../../../src/core/budget/throttling.ts'

/** What decides how many requests start a minute, as the study's pipeline asks it. */
export type Controller = {
  readonly name: string
  rpm(now: number): number
  resumeGapMs(): number
  /** What the last refusal adds to the next free slot. */
  spareMs?(): number
  /** Until when nothing starts. */
  refused(refusal: {
    now: number
    slotAt: number
    givenUntil: number
    retryAfterMs: number | null
    cause: 'rate' | 'capacity'
    startsSince: (at: number) => number
  }): number
  passed(tick: { now: number; startsLastMinute: number; givenUntil: number }): void
  told(header: { now: number; limitRpm: number }): void
  text(now: number): string
}

/** The controller of Darkroom; every state goes through JSON, as it does in the ledger. */
export function openContext(limits: Limits): Controller & { state(): unknown } {
  let level = newLevel(0)
  let spareMs = 0
  return {
    name: 'darkroom',
    rpm: () => rpmInForce(level, limits),
    resumeGapMs: () => resumeGapMs,
    spareMs: () => spareMs,
    refused(refusal) {
      const result = refused(level, limits, refusal)
      level = stored(result.level)
      spareMs = result.spareMs ?? 0
      return result.pausedUntil
    },
    passed(tick) {
      level = stored(passed(level, limits, tick))
    },
    told(header) {
      level = stored(told(level, header))
    },
    text: (now) => opinion(level, limits, now).kind,
    state: () => level,
  }
}

function stored<T>(value: T): T {
  const read: T = JSON.parse(JSON.stringify(value))
  return read
}

/** Always the same number: what somebody who knew the best one in advance would get. */
export function constant(rpm: number): Controller {
  return {
    name: `constant ${rpm}`,
    rpm: () => rpm,
    resumeGapMs: () => 0,
    refused: ({ now, retryAfterMs }) => now + (retryAfterMs ?? 5_000),
    passed: () => undefined,
    told: () => undefined,
    text: () => '',
  }
}

/** Tried first: a refusal takes a tenth, each quiet minute gives one hundredth back. */
export function linear({ rpm, pace }: Limits): Controller {
  let factor = 1
  let quietSince = 0
  let eventUntil = 0
  return {
    name: 'x0.9, +0.01',
    rpm: () => rpm * pace * factor,
    resumeGapMs: () => 0,
    refused({ now, slotAt, retryAfterMs, cause }) {
      if (cause === 'rate' && slotAt >= eventUntil) {
        factor = Math.max(0.05, factor * 0.9)
        eventUntil = now + Math.max(1_300, retryAfterMs ?? 10_000)
      }
      quietSince = now
      return now + (retryAfterMs ?? 10_000)
    },
    passed({ now }) {
      if (now - quietSince < 60_000) return
      quietSince = now
      factor = Math.min(1, factor + 0.01)
    },
    told: () => undefined,
    text: () => '',
  }
}

/** Tried second: fast back to just below the level that was refused, slowly past it, then faster (as TCP CUBIC does). */
export function cubic({ rpm, pace }: Limits): Controller {
  const keep = 0.85
  const growth = 0.02
  let factor = 1
  let peak = 1
  let from = 0
  let eventUntil = 0
  return {
    name: 'cubic',
    rpm: () => rpm * pace * factor,
    resumeGapMs: () => 0,
    refused({ now, slotAt, retryAfterMs, cause }) {
      const until = now + (retryAfterMs ?? 10_000)
      if (cause === 'rate' && slotAt >= eventUntil) {
        peak = factor
        factor = Math.max(0.05, factor * keep)
        from = until
        eventUntil = now + Math.max(1_300, retryAfterMs ?? 10_000)
      }
      return until
    },
    passed({ now }) {
      const minutes = Math.max(0, now - from) / 60_000
      const turn = Math.cbrt((peak * (1 - keep)) / growth)
      factor = Math.min(1, Math.max(factor, growth * (minutes - turn) ** 3 + peak))
    },
    told: () => undefined,
    text: () => '',
  }
}
