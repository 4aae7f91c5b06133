import { timing } from '../core/timing.ts'

/**
 * What an instance knows of the ticks of one pool. Losing it costs a few reads; nothing depends on two instances knowing
 * the same.
 */
export type TickWatch = {
  /** Whether a tick is known to be still to come: it will see all that was written until then. */
  readonly isExpected: (now: number) => boolean
  /** No tick is missing before this time. */
  readonly expectUntil: (at: number) => void
  /** Whether it is time to look again for a tick that was lost. Asking counts as looking. */
  readonly shouldLook: (now: number) => boolean
  /** Runs `act` unless it is under way; then once more behind it, for all who ask meanwhile. */
  readonly share: (act: () => Promise<void>) => Promise<void>
  /**
   * Whether the platform takes instances away between their messages, as far as this one has seen lately: then slots are
   * given further ahead.
   */
  readonly isCold: (now: number) => boolean
  /**
   * A tick that was due at that time is run here. An instance that has had to do with no tick before, and finds one so
   * late that nobody can have listened for its message, was started for it. One that had was there, and stood still.
   */
  readonly ran: (dueAt: number | null, now: number) => void
  /**
   * The message of a tick has come that somebody else had run. An instance that has had to do with no tick before was
   * started for this message.
   */
  readonly cameTooLate: (now: number) => void
  /** This instance has more jobs in hand than it bears: where ticks and jobs share an instance, nobody takes it away. */
  readonly foundFull: () => void
}

/** One for each pool, made when it is first asked for. */
export function tickWatches(): (pool: string) => TickWatch {
  const watches = new Map<string, TickWatch>()
  return (pool) => {
    const watch = watches.get(pool) ?? tickWatch()
    watches.set(pool, watch)
    return watch
  }
}

function tickWatch(): TickWatch {
  let expectedUntil = 0
  let lookedAt = 0
  let coldSince = -Infinity
  let isAwake = false
  let underWay: Promise<void> | undefined
  let next: Promise<void> | undefined

  async function share(act: () => Promise<void>): Promise<void> {
    if (underWay === undefined) {
      underWay = act().finally(() => {
        underWay = undefined
        next = undefined
      })
      return underWay
    }
    next ??= Promise.allSettled([underWay]).then(async () => share(act))
    return next
  }

  return {
    isExpected: (now) => now < expectedUntil,
    expectUntil(at) {
      expectedUntil = at
    },
    shouldLook(now) {
      if (now < lookedAt + timing.tickLookMs) return false
      lookedAt = now
      return true
    },
    share,
    isCold: (now) => now - coldSince < timing.coldKnownMs,
    ran(dueAt, now) {
      const lateMs = now - (dueAt ?? now)
      const isLate = lateMs >= timing.tickOverdueMs && lateMs < timing.coldLatestMs
      if (isLate && !isAwake) coldSince = now
      isAwake = true
    },
    cameTooLate(now) {
      if (!isAwake) coldSince = now
      isAwake = true
    },
    foundFull() {
      coldSince = -Infinity
    },
  }
}
