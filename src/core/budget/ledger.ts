import { addToBucket, recentCount } from '../rates.ts'
import { limits } from '../limits.ts'
import { timing } from '../timing.ts'
import { firstReady, newMember, probed, withStop, type Fault, type Member } from './breaker.ts'
import { newLevel, passed, resumeGapMs, rpmInForce, told, topPaces, type Level } from './level.ts'
import { addRecall, covers, type Recall } from './recall.ts'
import { refused, type Refusal } from './throttling.ts'
import { startsBetween, withoutSlots, withSlot, type Starts } from './starts.ts'

/** What one quota may start, and when; several deployments may draw on it. Times are epoch milliseconds. */
export type Ledger = {
  readonly quota: string
  /** The next slot goes to the first that can serve; who got one moves to the end. */
  readonly deployments: readonly Member[]
  readonly rpm: number
  readonly pace: number
  /** What the pace may rise to by itself. */
  readonly topPace: number
  /** How many starts a minute the deployments really bear, as far as their refusals show. */
  readonly level: Level
  readonly nextFreeAt: number
  readonly pausedUntil: number
  readonly pauseReason: string | null
  /** Slots of the last two minutes, and ahead. */
  readonly starts: Starts
  /** Slots that were given and do not count any more, whoever holds them. */
  readonly recalled: readonly Recall[]
  /** How long before its slot a work message becomes visible. */
  readonly leadMs: number
  /** When it may be lowered next. */
  readonly leadLowerAt: number
}

/** A quota as the settings have it. */
export type QuotaLimits = Pick<Ledger, 'quota' | 'rpm' | 'pace'> & {
  readonly deployments: readonly Pick<Member, 'deployment' | 'settingsMark'>[]
}

export type Slot = { readonly slotAt: number; readonly deployment: string; readonly ledger: Ledger }

export function newLedger({ quota, rpm, pace, deployments }: QuotaLimits, now: number): Ledger {
  return {
    quota,
    rpm,
    pace,
    topPace: topPaces.severalClocks,
    deployments: deployments.map(newMember),
    level: newLevel(now),
    nextFreeAt: 0,
    pausedUntil: 0,
    pauseReason: null,
    starts: [],
    recalled: [],
    leadMs: timing.leadMs,
    leadLowerAt: now + timing.leadQuietMs,
  }
}

/** The ledger under the settings in force: limits are taken over, and what a changed key or address has ended. */
export function underSettings(ledger: Ledger, { rpm, pace, deployments }: QuotaLimits): Ledger {
  const settingsOf = new Map(deployments.map((settings) => [settings.deployment, settings]))
  const kept = ledger.deployments.flatMap((member) => {
    const settings = settingsOf.get(member.deployment)
    settingsOf.delete(member.deployment)
    if (settings === undefined) return []
    return [
      settings.settingsMark === member.settingsMark ? member : { ...member, ...settings, breaker: null },
    ]
  })
  // Who changes the limit knows better than what the headers said before.
  const level = rpm === ledger.rpm ? ledger.level : { ...ledger.level, toldRpm: null }
  return { ...ledger, rpm, pace, level, deployments: [...kept, ...[...settingsOf.values()].map(newMember)] }
}

/** Milliseconds from one start to the next. */
export function spacingMs(ledger: Pick<Ledger, 'rpm' | 'pace' | 'topPace' | 'level'>): number {
  return 60_000 / rpmInForce(ledger.level, ledger)
}

/**
 * The quota's next slot, no earlier than `earliestAt`, and the deployment it is for; a stopped one gets the slot of its
 * next probe. `nextFreeAt` only moves forward, one spacing a slot: a crash can waste a slot, it cannot exceed the limit.
 */
export function takeSlot(ledger: Ledger, earliestAt: number): Slot {
  const from = Math.max(earliestAt, ledger.nextFreeAt, ledger.pausedUntil)
  const { member, at } = firstReady(ledger.deployments, from)
  const slotAt = roundToMicros(at)
  const others = ledger.deployments.filter((other) => other !== member)
  return {
    slotAt,
    deployment: member.deployment,
    ledger: { ...afterSlot(ledger, slotAt), deployments: [...others, probed(member, slotAt)] },
  }
}

/**
 * A worker that woke too late for its slot takes the next free one of the same deployment. Of a stopped deployment only
 * the probe under way does so: a probe that is given up whenever it comes late would never be sent.
 */
export function takeFreshSlot(
  ledger: Ledger,
  late: { readonly now: number; readonly slotAt: number; readonly deployment: string },
): Slot | undefined {
  const { deployment } = late
  const missed = memberOf(ledger, deployment)
  if (missed === undefined || (missed.breaker !== null && missed.breaker.probeSlotAt !== late.slotAt)) {
    return undefined
  }
  const slotAt = roundToMicros(Math.max(late.now, ledger.nextFreeAt, ledger.pausedUntil))
  const starts = withoutSlots(ledger.starts, late.slotAt, late.slotAt + 0.001)
  const { breaker } = missed
  const moved = breaker && { ...breaker, probeSlotAt: slotAt, nextProbeAt: slotAt + timing.probeLostMs }
  return {
    slotAt,
    deployment,
    ledger: withMember(afterSlot({ ...ledger, starts }, slotAt), { ...missed, breaker: moved }),
  }
}

/** From here on no call of the batch starts at such a slot, once every worker has looked again. */
export function withRecall(ledger: Ledger, recall: Recall): Ledger {
  return { ...ledger, recalled: addRecall(ledger.recalled, recall) }
}

export function isRecalled(ledger: Ledger, slot: Pick<Recall, 'batch' | 'epoch'>): boolean {
  return covers(ledger.recalled, slot)
}

/** Whether a job that holds a slot of the deployment may still start at it. */
export function mayStart(
  ledger: Ledger,
  { slotAt, deployment }: { readonly slotAt: number; readonly deployment: string },
): boolean {
  const member = memberOf(ledger, deployment)
  if (member === undefined) return false
  return slotAt >= ledger.pausedUntil && (member.breaker === null || member.breaker.probeSlotAt === slotAt)
}

/**
 * A 429: the level learns from it, and where it asks for a pause no slot comes before its end, for any worker on any
 * instance. Slots in the pause are given back unsent.
 */
export function throttled(
  ledger: Ledger,
  {
    reason,
    ...refusal
  }: Pick<Refusal, 'now' | 'slotAt' | 'retryAfterMs' | 'cause'> & { readonly reason: string },
): Ledger {
  const { now, slotAt } = refusal
  const {
    level,
    pausedUntil,
    spareMs = 0,
  } = refused(ledger.level, ledger, {
    ...refusal,
    givenUntil: ledger.nextFreeAt,
    startsSince: (from) => startsBetween(ledger.starts, from, slotAt),
  })
  if (pausedUntil <= ledger.pausedUntil) return { ...ledger, level }
  return {
    ...ledger,
    level,
    pausedUntil,
    pauseReason: reason,
    nextFreeAt: Math.max(ledger.nextFreeAt + spareMs, pausedUntil),
    starts: withoutSlots(ledger.starts, now, pausedUntil),
  }
}

/** An answer's headers spoke of the limit. Undefined when they say nothing new. */
export function toldLimit(ledger: Ledger, limitRpm: number): Ledger | undefined {
  const level = told(ledger.level, { limitRpm })
  return level === ledger.level ? undefined : { ...ledger, level }
}

/** Time passed, and slots with it: quiet minutes let the level rise. */
export function afterQuiet(ledger: Ledger, now: number): Ledger {
  const level = passed(ledger.level, ledger, {
    now,
    startsLastMinute: startsLastMinute(ledger, now),
    givenUntil: Math.max(ledger.nextFreeAt, now + timing.firstSlotMs),
  })
  return level === ledger.level ? ledger : { ...ledger, level }
}

/** A deployment cannot serve: nothing starts on it but probes. */
export function stopped(ledger: Ledger, fault: Fault): Ledger {
  const member = memberOf(ledger, fault.deployment)
  return member === undefined ? ledger : withMember(ledger, withStop(member, fault))
}

/** A call came to nothing through a fault of the deployment; one of which nothing else comes is stopped. */
export function faulted(ledger: Ledger, fault: Fault): Ledger {
  const { deployment, slotAt, now, message } = fault
  const member = memberOf(ledger, deployment)
  if (member === undefined) return ledger
  const faultsRecently = addToBucket(member.faultsRecently, now, 1)
  const noted = withMember(ledger, { ...member, faultsRecently })
  const faults = recentCount(faultsRecently, now, timing.faultWindowMs)
  // Members take turns.
  const slots = startsBetween(ledger.starts, now - timing.faultWindowMs, now) / ledger.deployments.length
  const isFailing = faults >= timing.faultsMin && faults >= slots * timing.faultShare
  if (!isFailing && member.breaker === null) return noted
  const why = `${faults} calls failed one after the other, the last: ${message}`
  return stopped(noted, { deployment, slotAt, now, code: 'failing', message: why })
}

/** An answer came: the breaker closes. */
export function reopened(ledger: Ledger, deployment: string): Ledger {
  const member = memberOf(ledger, deployment)
  return member === undefined ? ledger : withMember(ledger, { ...member, breaker: null, faultsRecently: [] })
}

/** A worker woke too late for its slot: later messages become visible earlier. Undefined when the lead is long enough. */
export function raisedLead(
  ledger: Ledger,
  { now, wakeAt, wokeAt }: { readonly now: number; readonly wakeAt: number; readonly wokeAt: number },
): Ledger | undefined {
  // The latest seen so far is hardly the latest there will be.
  const latestMs = (wokeAt - wakeAt) * timing.leadAllowance + timing.leadMarginMs
  const leadMs = Math.min(timing.leadMaxMs, latestMs)
  return leadMs <= ledger.leadMs
    ? undefined
    : { ...ledger, leadMs, leadLowerAt: now + timing.leadRaisedQuietMs }
}

/** Punctual minutes lower the lead slowly. */
export function lowerLead(ledger: Ledger, now: number): Ledger {
  if (now < ledger.leadLowerAt || ledger.leadMs <= timing.leadMinMs) return ledger
  const leadMs = Math.max(timing.leadMinMs, ledger.leadMs * 0.95)
  return { ...ledger, leadMs, leadLowerAt: now + timing.leadQuietMs }
}

/** How far ahead slots are given; `isCold`: messages were seen to wait for somebody who listens. */
export function horizonMs({ leadMs }: Pick<Ledger, 'leadMs'>, isCold: boolean): number {
  const coldMs = isCold ? Math.max(0, Math.min(timing.coldMs, timing.leadMaxMs - leadMs)) : 0
  return leadMs + coldMs + 2 * timing.tickMs
}

/**
 * How long before its slot a message becomes visible: the lead at least. Where nobody may listen it is as early as each
 * message can be, a tick's time within the horizon: the platform has to notice one, and to start an instance, which holds
 * the others meanwhile. Nobody knows of that before it was seen, so a slow quota's few messages are always so early.
 */
export function wakeAheadMs(
  ledger: Ledger,
  { isCold, quotas }: { readonly isCold: boolean; readonly quotas: number },
): number {
  const earliestMs = horizonMs(ledger, isCold) - timing.tickMs
  const heldMs = (limits.jobsHeldEarlyMax / quotas) * spacingMs(ledger)
  return isCold ? earliestMs : Math.max(ledger.leadMs, Math.min(heldMs, earliestMs))
}

/** Slots that came due in the last minute. */
export function startsLastMinute(ledger: Ledger, now: number): number {
  return startsBetween(ledger.starts, now - timing.rateWindowMs, now)
}

export function memberOf(ledger: Ledger, deployment: string): Member | undefined {
  return ledger.deployments.find((member) => member.deployment === deployment)
}

/** Whether anything but probes can start. */
export function isInService(ledger: Ledger): boolean {
  return ledger.deployments.some(({ breaker }) => breaker === null)
}

/** The first slot after a pause is a probe: until its answer is known everywhere no other starts. */
function afterSlot(ledger: Ledger, slotAt: number): Ledger {
  const gapMs = slotAt === roundToMicros(ledger.pausedUntil) ? resumeGapMs : 0
  return {
    ...ledger,
    nextFreeAt: slotAt + Math.max(spacingMs(ledger), gapMs),
    starts: withSlot(ledger.starts, slotAt),
  }
}

function withMember(ledger: Ledger, changed: Member): Ledger {
  if (ledger.deployments.includes(changed)) return ledger
  const deployments = ledger.deployments.map((member) =>
    member.deployment === changed.deployment ? changed : member,
  )
  return { ...ledger, deployments }
}

/** Slots carry decimals, to the microsecond that a row key holds. */
export function roundToMicros(time: number): number {
  return Math.round(time * 1000) / 1000
}
