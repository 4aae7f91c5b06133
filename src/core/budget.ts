import { addToBucket, recentCount, type Bucket } from './counters.ts'
import { roundToMicros } from './keys.ts'
import { timing } from './timing.ts'

/** What one deployment may start, and when. Times are epoch milliseconds. */
export type Ledger = {
  readonly deployment: string
  /** Names the settings this ledger was kept under: a corrected key or address closes the breaker at once. */
  readonly settingsMark: string
  readonly rpm: number
  readonly pace: number
  /** The learned share of the pace that the deployment bears. */
  readonly factor: number
  readonly nextFreeAt: number
  readonly pausedUntil: number
  readonly pauseReason: string | null
  readonly breaker: Breaker | null
  /** How long before its slot a work message becomes visible. */
  readonly leadMs: number
  readonly leadChangedAt: number
  /** Slots by time, for the starts of the last minute. */
  readonly slotsRecently: readonly Bucket[]
}

/** A stopped deployment: nothing starts but one probe at a time. */
export type Breaker = {
  readonly code: string
  readonly message: string
  readonly openedAt: number
  /** The slot of the probe under way. */
  readonly probeSlotAt: number | null
  readonly nextProbeAt: number
  readonly probes: number
}

export type DeploymentLimits = Pick<Ledger, 'deployment' | 'settingsMark' | 'rpm' | 'pace'>

export function newLedger(deployment: DeploymentLimits, now: number): Ledger {
  return {
    ...deployment,
    factor: 1,
    nextFreeAt: 0,
    pausedUntil: 0,
    pauseReason: null,
    breaker: null,
    leadMs: timing.leadMs,
    leadChangedAt: now,
    slotsRecently: [],
  }
}

/** The ledger under the settings in force: limits are taken over, and what a changed key or address has ended. */
export function underSettings(ledger: Ledger, deployment: DeploymentLimits): Ledger {
  const isSame = ledger.settingsMark === deployment.settingsMark
  return { ...ledger, ...deployment, breaker: isSame ? ledger.breaker : null }
}

/** Milliseconds from one start to the next. */
export function spacingMs(ledger: Pick<Ledger, 'rpm' | 'pace' | 'factor'>): number {
  return 60_000 / (ledger.rpm * ledger.pace * ledger.factor)
}

/**
 * The next slot of a deployment, no earlier than `earliestAt`; of a stopped one the slot of its next probe.
 * `nextFreeAt` only moves forward, one spacing a slot: a crash can waste a slot, it cannot exceed the limit.
 */
export function takeSlot(
  ledger: Ledger,
  earliestAt: number,
): { readonly slotAt: number; readonly ledger: Ledger } {
  const { breaker } = ledger
  const from = Math.max(earliestAt, ledger.nextFreeAt, ledger.pausedUntil, breaker?.nextProbeAt ?? 0)
  const slotAt = roundToMicros(from)
  const next: Ledger = {
    ...ledger,
    nextFreeAt: slotAt + spacingMs(ledger),
    slotsRecently: addToBucket(ledger.slotsRecently, slotAt, 1),
  }
  if (breaker === null) return { slotAt, ledger: next }
  const probes = breaker.probes + 1
  return {
    slotAt,
    ledger: {
      ...next,
      breaker: { ...breaker, probes, probeSlotAt: slotAt, nextProbeAt: slotAt + probeIntervalMs(probes) },
    },
  }
}

/**
 * A worker that woke too late for its slot takes the next free one; the lead is raised in the same write. Of a stopped
 * deployment only the probe under way does so: a probe that is given up whenever it comes late would never be sent.
 */
export function takeFreshSlot(
  ledger: Ledger,
  late: { readonly now: number; readonly slotAt: number; readonly wakeAt: number; readonly wokeAt: number },
): { readonly slotAt: number; readonly ledger: Ledger } | undefined {
  const { breaker } = ledger
  if (breaker !== null && breaker.probeSlotAt !== late.slotAt) return undefined
  const raised = raiseLead(ledger, late)
  const withoutMissed = { ...raised, slotsRecently: addToBucket(raised.slotsRecently, late.slotAt, -1) }
  const fresh = takeSlot({ ...withoutMissed, breaker: null }, late.now)
  if (breaker === null) return fresh
  const { slotAt } = fresh
  // The next probe keeps its distance from this one, wherever it has moved to.
  const nextProbeAt = Math.max(breaker.nextProbeAt, slotAt + probeIntervalMs(breaker.probes))
  return { slotAt, ledger: { ...fresh.ledger, breaker: { ...breaker, probeSlotAt: slotAt, nextProbeAt } } }
}

/** Whether a job that holds a slot may still start at it. */
export function mayStart(ledger: Ledger, slotAt: number): boolean {
  if (ledger.breaker !== null) return ledger.breaker.probeSlotAt === slotAt
  return slotAt >= ledger.pausedUntil
}

/** The model asked for a rest: no slot before its end, for any worker on any instance. */
export function paused(
  ledger: Ledger,
  pause: { now: number; retryAfterMs: number | null; reason: string },
): Ledger {
  const waitMs = Math.min(timing.pauseMaxMs, pause.retryAfterMs ?? timing.pauseDefaultMs)
  const until = pause.now + waitMs
  if (until <= ledger.pausedUntil) return ledger
  return {
    ...ledger,
    pausedUntil: until,
    pauseReason: pause.reason,
    nextFreeAt: Math.max(ledger.nextFreeAt, until),
  }
}

/** The deployment cannot serve (key, address, block, retirement): nothing starts but probes at growing intervals. */
export function stopped(ledger: Ledger, stop: { now: number; code: string; message: string }): Ledger {
  const { now, code, message } = stop
  const probes = ledger.breaker?.probes ?? 0
  const openedAt = ledger.breaker?.openedAt ?? now
  // The interval runs from the answer; a probe that a later slot already stands for is not moved.
  const nextProbeAt = Math.max(ledger.breaker?.nextProbeAt ?? 0, now + probeIntervalMs(probes))
  return { ...ledger, breaker: { code, message, openedAt, probeSlotAt: null, nextProbeAt, probes } }
}

/** An answer came: the breaker closes. */
export function reopened(ledger: Ledger): Ledger {
  return { ...ledger, breaker: null }
}

/** Punctual minutes lower the lead slowly. */
export function lowerLead(ledger: Ledger, now: number): Ledger {
  if (now - ledger.leadChangedAt < timing.leadQuietMs || ledger.leadMs <= timing.leadMinMs) return ledger
  return { ...ledger, leadMs: Math.max(timing.leadMinMs, ledger.leadMs * 0.95), leadChangedAt: now }
}

export function horizonMs(ledger: Ledger): number {
  return ledger.leadMs + 2 * timing.tickMs
}

/** Slots that came due in the last minute, to the width of a bucket. */
export function startsLastMinute(ledger: Ledger, now: number): number {
  return Math.max(0, recentCount(ledger.slotsRecently, now))
}

function raiseLead(
  ledger: Ledger,
  { now, wakeAt, wokeAt }: { now: number; wakeAt: number; wokeAt: number },
): Ledger {
  const neededMs = Math.min(timing.leadMaxMs, wokeAt - wakeAt + timing.leadMarginMs)
  if (neededMs <= ledger.leadMs) return ledger
  return { ...ledger, leadMs: neededMs, leadChangedAt: now }
}

function probeIntervalMs(probes: number): number {
  return Math.min(timing.probeMaxMs, timing.probeFirstMs * 2 ** Math.min(probes, 10))
}
