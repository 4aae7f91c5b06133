import { timing } from '../timing.ts'

/** When an instance has had jobs in hand, in epoch milliseconds. */
export type AtWork = {
  /** When it took its first job, after its start or a rest: before that, nobody may have listened. */
  readonly since: number
  /** When it last had one in hand. */
  readonly until: number
}

/** An instance that has just started. */
export const neverAtWork: AtWork = { since: Infinity, until: -Infinity }

/** It takes a job; `inHand` counts those that it has already. */
export function jobTaken(
  atWork: AtWork,
  { now, inHand }: { readonly now: number; readonly inHand: number },
): AtWork {
  const hasRested = inHand === 0 && now - atWork.until > timing.restMs
  return hasRested ? { since: now, until: now } : atWork
}

export function jobEnded(atWork: AtWork, now: number): AtWork {
  return { ...atWork, until: now }
}

/**
 * Whether nobody need have listened when the message became visible: the platform starts an instance only for messages
 * that wait. Such a message is late because it found nobody, and says nothing of how late messages come.
 */
export function isColdWake({ since }: AtWork, wakeAt: number): boolean {
  return wakeAt < since
}
