/**
 * How many starts a minute a deployment really bears, as far as its refusals show. Kept in the ledger; changed by ticks
 * and refusals only, never by a success. Rates are starts a minute, times epoch milliseconds.
 */
export type Level = {
  /** The limit that the deployment's headers speak of; null when they say nothing. */
  readonly toldRpm: number | null
  /** The limit under which all below was learned. Another one (settings, headers) starts anew from what held. */
  readonly limitRpm: number | null
  /** The last rate that held; null is the pace of the limit. */
  readonly heldRpm: number | null
  /** The higher rate that is being tried. */
  readonly triedRpm: number | null
  /** When the first slot of the rate tried is due; without one, when the last rate was proven. */
  readonly since: number
  /** By how much the next trial exceeds what holds, as a share. */
  readonly step: number
  /** The rate that was refused last, and when. */
  readonly refusal: { readonly rpm: number; readonly at: number } | null
  /** Refusals that may still be risked: earned by starts, spent by refusals. */
  readonly credit: number
  readonly countedAt: number
  readonly pause: Pause
  /** Slots of the latest capacity refusals that caused no pause. */
  readonly capacityAt: readonly number[]
  /** Refusals of a rate that had held: the latest, within an hour. */
  readonly surprisesAt: readonly number[]
}

/** The latest event: refusals that belong together. */
export type Pause = {
  readonly cause: 'none' | 'rate' | 'capacity' | 'parked'
  readonly until: number
  /** Slots up to here were given before the refusal was known, at the rate that was refused. */
  readonly givenUntil: number
  /** Refusals up to here are still the work of those slots: they lengthen the pause and say nothing new. */
  readonly settledAt: number
  /** Events in a row before this one. */
  readonly tries: number
}

/** IMAGE_RPM and PACE, and the pace up to which quiet times may raise it. */
export type Limits = { readonly rpm: number; readonly pace: number; readonly topPace: number }

/**
 * The first start after a pause that took back all slots is a probe, and the next one comes this much later: the time
 * until a refusal is known everywhere (answer 0.2 s, view 1 s, claim 0.3 s). So a refused probe costs one request.
 */
export const resumeGapMs = 2_000

/** The share of a limit that is safe to use: forgives 200 ms of jitter in 10 s (design, section 5). */
export const safePace = 0.98
/**
 * In quiet times the pace rises to this where all starts are made by one clock: it forgives 50 ms in 10 s, which is how
 * late a start may be. Clocks of several instances may be 50 ms apart on top of that.
 */
export const topPaces = { oneClock: 0.995, severalClocks: 0.99 } as const
const topStep = 0.005
const topQuietMs = 300_000
/** What was refused at the pace of the limit is not tried again for this long: there is half a percent to win. */
export const memoryMs = 3_600_000

/** The first trial above what holds: more than the noise of counting, little enough to be refused only now and then. */
export const firstStep = 0.04
/** A trial that held is followed by one three times as bold: 4, 12, 36 % lead from a half to all in four steps. */
const stepGrowth = 3
/** Of a hundred starts less than one may be refused: trials stop when refusals cost more than this share of starts. */
const creditShare = 0.007
/** Credit of this many full minutes is kept, so that a deployment that ran well may be probed often once it is cut. */
const creditMinutes = 20
/** However little credit is left, this long after the last refusal somebody has to ask whether the quota is back. */
const trialsAtLeastMs = 360_000

/** A trial is proven when the minute's window was full of it; later, bolder ones after two 10 s windows. */
const provenMs = 62_000
const provenFastMs = 20_000
/** From the end of a pause to a trial below the rate refused last: the minute's window has been filled anew. */
const quietMs = 60_000
/** To one above it: such a trial is mostly refused, which costs some seconds. */
const probeMs = 150_000
/** To one that can win less than `littleShare`, or is hardly borne by what is known. */
const littleMs = 1_200_000
const littleShare = 0.05
/** How long the rate that was refused is aimed at from below, and not crossed. */
const aimMs = 900_000

/** Three surprises in twenty minutes: another client comes and goes at random. */
const stormCount = 3
const stormMs = 1_200_000
/** Refusals come at any rate then: half a one a minute more is borne, and what was lost is tried again soon. */
const stormCreditPerMinute = 0.5
const stormQuietMs = 30_000

export function newLevel(now: number): Level {
  return {
    toldRpm: null,
    limitRpm: null,
    heldRpm: null,
    triedRpm: null,
    since: now,
    step: firstStep,
    refusal: null,
    credit: 0,
    countedAt: now,
    pause: { cause: 'none', until: 0, givenUntil: 0, settledAt: 0, tries: 0 },
    capacityAt: [],
    surprisesAt: [],
  }
}

/** How many starts a minute are in force. */
export function rpmInForce(level: Level, limits: Limits): number {
  const { triedRpm } = underLimit(level, limits)
  return triedRpm === null ? heldRpm(level, limits) : Math.min(triedRpm, topRpm(level, limits))
}

/** The rate that holds, as far as is known. */
export function heldRpm(level: Level, limits: Limits): number {
  const { heldRpm: held } = underLimit(level, limits)
  return Math.min(held ?? paceRpm(level, limits), topRpm(level, limits))
}

/** A header spoke of the limit. Answers the same level when it says nothing new, which it does nearly always. */
export function told(level: Level, { limitRpm }: { readonly limitRpm: number }): Level {
  if (limitRpm === level.toldRpm || !Number.isFinite(limitRpm) || limitRpm < 1) return level
  return { ...level, toldRpm: limitRpm }
}

/**
 * Time passed: each tick while jobs are started. `startsLastMinute` counts slots that came due and were not given back;
 * `givenUntil` is the next free slot. Answers the same level when nothing was started.
 */
export function passed(
  before: Level,
  limits: Limits,
  tick: { readonly now: number; readonly startsLastMinute: number; readonly givenUntil: number },
): Level {
  const { now, startsLastMinute, givenUntil } = tick
  if (startsLastMinute === 0) return before
  const counted = earn(underLimit(before, limits), limits, tick)
  // Fewer jobs than slots: what was not used was not proven.
  if (startsLastMinute < 0.9 * heldRpm(counted, limits)) return counted
  const level =
    counted.triedRpm === null ? counted : proven(counted, limits, { triedRpm: counted.triedRpm, now })
  if (level.triedRpm !== null || now < nextTrialAt(level, limits, now)) return level
  const triedRpm = nextRpm(level, limits, now)
  return triedRpm === undefined ? level : { ...level, triedRpm, since: givenUntil }
}

/** Whether refusals come at random, as they do beside a client that starts at random. */
export function isStormy({ surprisesAt }: Level, now: number): boolean {
  return (surprisesAt.at(-stormCount) ?? -Infinity) > now - stormMs
}

/** The limit, corrected by the headers. */
export function limitRpm(level: Level, limits: Limits): number {
  return level.toldRpm ?? limits.rpm
}

/** The rate to be reached below the limit. */
export function paceRpm(level: Level, limits: Limits): number {
  return limitRpm(level, limits) * limits.pace
}

/** A pace below the safe one is somebody's wish to leave room; it is kept. */
function topRpm(level: Level, limits: Limits): number {
  const pace = limits.pace < safePace ? limits.pace : Math.max(limits.topPace, limits.pace)
  return limitRpm(level, limits) * pace
}

/** The level under the limit in force. What was learned to be below the old limit still holds; the rest follows. */
export function underLimit(level: Level, limits: Limits): Level {
  const limit = limitRpm(level, limits)
  if (level.limitRpm === limit) return level
  const isBelow =
    level.limitRpm !== null && level.heldRpm !== null && level.heldRpm < level.limitRpm * limits.pace - 0.01
  return {
    ...level,
    limitRpm: limit,
    heldRpm: isBelow ? level.heldRpm : null,
    triedRpm: null,
    step: firstStep,
  }
}

/** After refusals, no debt grows beyond what they cost at this rate: an event is a second's starts, and one. */
export function spend(level: Level, limits: Limits): Level {
  return { ...level, credit: Math.max(level.credit - 1, -1 - limitRpm(level, limits) / 50) }
}

function earn(
  level: Level,
  limits: Limits,
  { now, startsLastMinute }: { now: number; startsLastMinute: number },
): Level {
  const minutes = Math.min(1, Math.max(0, now - level.countedAt) / 60_000)
  const perMinute = creditShare * startsLastMinute + (isStormy(level, now) ? stormCreditPerMinute : 0)
  const creditMax = creditShare * creditMinutes * limitRpm(level, limits)
  return { ...level, countedAt: now, credit: Math.min(creditMax, level.credit + perMinute * minutes) }
}

function proven(level: Level, limits: Limits, { triedRpm, now }: { triedRpm: number; now: number }): Level {
  const neededMs = isStormy(level, now) ? stormQuietMs : level.step === firstStep ? provenMs : provenFastMs
  if (now < level.since + neededMs) return level
  const isAbove = level.refusal !== null && triedRpm > level.refusal.rpm
  const held: Level = {
    ...level,
    heldRpm: triedRpm,
    triedRpm: null,
    since: now,
    refusal: isAbove ? null : level.refusal,
  }
  const isBelow = triedRpm < paceRpm(level, limits) && !isNearRefusal(held, triedRpm, now)
  return { ...held, step: isBelow ? level.step * stepGrowth : firstStep }
}

/** The highest rate that the latest refusal leaves; nothing once it is long ago. */
function aimRpm({ refusal }: Level, now: number): number | undefined {
  const isRecent = refusal !== null && now < refusal.at + aimMs
  return isRecent ? Math.floor(refusal.rpm + 0.01) * safePace : undefined
}

/** Whether another step would cross what was refused lately: no more than 2 % are left below it. */
function isNearRefusal(level: Level, rpm: number, now: number): boolean {
  return (aimRpm(level, now) ?? Infinity) < rpm * 1.02
}

function nextTrialAt(level: Level, limits: Limits, now: number): number {
  const held = heldRpm(level, limits)
  const from = Math.max(level.pause.until, level.since)
  if (held >= paceRpm(level, limits)) return from + topQuietMs
  // On the way up nothing waits: what was just proven is better proof than credit.
  if (level.step > firstStep) return now
  const isLittle = held > (1 - littleShare) * paceRpm(level, limits)
  const isRemembered = level.refusal !== null && now < level.refusal.at + memoryMs
  if (isLittle || (isRemembered && isExpected(level, limits))) return from + littleMs
  const quiet = isStormy(level, now) ? stormQuietMs : isNearRefusal(level, held, now) ? probeMs : quietMs
  return Math.max(from + quiet, level.credit < 0 ? level.pause.until + trialsAtLeastMs : 0)
}

/** Whether the rate that holds is one that has a likely cause other than a cut: it may well stay. */
function isExpected(level: Level, limits: Limits): boolean {
  const held = heldRpm(level, limits)
  const isAt = (rpm: number): boolean => Math.abs(held - wholeRpm(rpm * safePace)) < 0.01
  return isAt(perTenSecondsRpm(limitRpm(level, limits))) || isAt(limits.rpm)
}

/** What is left of a limit that is counted in whole requests per 10 s, rounded down: 6 of 9, 12 of 15. */
export function perTenSecondsRpm(limitRpm: number): number {
  return 6 * Math.max(1, Math.floor(limitRpm / 6))
}

/** The next rate worth trying; undefined when there is none. */
function nextRpm(level: Level, limits: Limits, now: number): number | undefined {
  const { refusal } = level
  const held = heldRpm(level, limits)
  const pace = paceRpm(level, limits)
  if (held >= pace) {
    const next = Math.min(topRpm(level, limits), held + topStep * limitRpm(level, limits))
    const isRemembered = refusal !== null && now < refusal.at + memoryMs && next > refusal.rpm - 0.01
    return next > held && !isRemembered ? next : undefined
  }
  const bold = Math.max(
    Math.ceil((held * (1 + level.step)) / safePace - 0.01) * safePace,
    wholeRpm(held + safePace),
  )
  const aim = isNearRefusal(level, held, now) ? Infinity : (aimRpm(level, now) ?? Infinity)
  const next = Math.min(bold, aim)
  return next > pace * 0.97 ? pace : next
}

/** Limits are whole numbers: between two of them there is nothing to find. */
export function wholeRpm(rpm: number): number {
  return Math.max(1, Math.round(rpm / safePace)) * safePace
}
