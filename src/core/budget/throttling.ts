import {
  firstStep,
  heldRpm,
  isStormy,
  memoryMs,
  rpmInForce,
  safePace,
  spend,
  underLimit,
  wholeRpm,
  type Level,
  type Limits,
  type Pause,
} from './level.ts'

/** A 429, and what the ledger knew when it came. Times are epoch milliseconds. */
export type Refusal = {
  readonly now: number
  /** The slot of the request that was refused. */
  readonly slotAt: number
  /** The next free slot: those before it have been given. */
  readonly givenUntil: number
  readonly retryAfterMs: number | null
  /** The deployment's limit, or "high demand" on Azure's side. */
  readonly cause: 'rate' | 'capacity'
  /** How many slots lie after a time, up to and including the refused one; without those given back. */
  readonly startsSince: (at: number) => number
}

export type Refused = {
  readonly level: Level
  /** Nothing starts before; in the past when nothing pauses. */
  readonly pausedUntil: number
  /** By so much the next free slot moves away from those that were given. */
  readonly spareMs?: number
}

/** Until every instance has heard of a pause: its view is up to 1 s old, and claims are made 300 ms ahead. */
const pauseMinMs = 1_500
/** Without a wait in the answer, or a spacing if that is longer; doubled while the probe after it is refused. */
const pauseDefaultMs = 5_000
const pauseMaxMs = 60_000
/** No window of a minute asks for as much: the deployment is parked, and asked by one request now and then. */
const parkFromMs = 120_000
const parkFirstMs = 60_000
const parkMaxMs = 600_000
/** A refusal this soon after a pause for another one: the step down was too small, and the next is doubled. */
const againMs = 30_000
/** Less is lost in the noise of counting; more than a third at once would be a guess. */
const dropMin = 0.03
const dropMax = 0.34
/** Where a wait is told: something has changed, rarely by little, and the wait says when it is too much. */
const surpriseStep = 0.08
/** A pause this long, or a fall to less than this share, takes back all slots that were given. */
const takeBackMs = 5_000
const takeBackShare = 0.9
/**
 * Slots that were given at the rate of a refused trial are closer than a window bears: those of this long are left, less
 * than the shortest window, and what they are too close by is put behind them.
 */
const trialLeftMs = 9_000
const shortestWindowMs = 10_000
/** The 10 s window still holds a trial's starts this long after its last slot; that of a minute some longer. */
const trialTailMs = 10_000
/** From nine starts in ten seconds on, one more or less is little enough to trust a count of them. */
const fineRpm = 54
/** Three of four starts in a row met high demand: a spell. One in fifty hardly ever does. */
const spellCount = 3
const spellStarts = 4
const surprisesMax = 5

/** What a refusal teaches, and the pause it asks for. Slots in the pause are given back unsent. */
export function refused(before: Level, limits: Limits, refusal: Refusal): Refused {
  const level = underLimit(before, limits)
  if (refusal.cause === 'capacity') return highDemand(level, refusal)
  const askedMs = refusal.retryAfterMs ?? 0
  if (askedMs >= parkFromMs) return parked(level, refusal, askedMs)
  const { pause } = level
  const isKnown = refusal.slotAt < Math.max(pause.until, pause.settledAt)
  return isKnown ? sameEvent(spend(level, limits), refusal) : tooFast(spend(level, limits), limits, refusal)
}

/** Another refusal of slots that were given before the first was known. */
function sameEvent(level: Level, { now, slotAt, retryAfterMs }: Refusal): Refused {
  const { pause } = level
  const asked = now + (retryAfterMs ?? 0)
  const isInPause = slotAt < pause.until
  // After the pause, the slots that are left go at the refused rate too: they are taken back.
  const rest = isInPause
    ? pause.until
    : Math.max(now + pauseMinMs, slotAt < pause.givenUntil ? pause.givenUntil : 0)
  const until = Math.max(asked, rest)
  return { level: { ...level, pause: { ...pause, until } }, pausedUntil: until }
}

function tooFast(level: Level, limits: Limits, refusal: Refusal): Refused {
  const { now, givenUntil, retryAfterMs } = refusal
  const inForce = rpmInForce(level, limits)
  const isTrial = level.triedRpm !== null
  const isAgain = level.pause.cause === 'rate' && now < level.pause.until + againMs
  const tries = isAgain && !isTrial && !isStormy(level, now) ? level.pause.tries + 1 : 0
  const step = isStormy(level, now) || retryAfterMs === null ? firstStep : surpriseStep
  const counts = count(refusal)
  const held = isTrial
    ? afterTrial(heldRpm(level, limits), inForce, counts)
    : lowered(inForce, { step, tries }, counts, refusal.startsSince(refusal.slotAt - 60_000))
  const spacingMs = 60_000 / held
  const defaultMs = Math.max(spacingMs, pauseDefaultMs * 2 ** tries)
  const waitMs = Math.max(pauseMinMs, retryAfterMs ?? Math.min(pauseMaxMs, defaultMs))
  const takesBack = waitMs > takeBackMs || held < inForce * takeBackShare
  const left = takesBack ? givenUntil : isTrial ? givenUntil - trialLeftMs : 0
  const until = Math.max(now + waitMs, left)
  const spareMs = isTrial && !takesBack ? shortestWindowMs * (inForce / held - 1) : 0
  const surprises = isTrial || isAgain ? [] : [now]
  return {
    level: {
      ...level,
      heldRpm: held,
      triedRpm: null,
      since: until,
      step: firstStep,
      refusal: { rpm: Math.min(inForce, Math.max(held, counts.most)), at: now },
      pause: {
        cause: 'rate',
        until,
        givenUntil,
        settledAt: givenUntil + (isTrial ? trialTailMs + 2 * spacingMs : 0),
        tries,
      },
      surprisesAt: [...level.surprisesAt.filter((at) => at > now - memoryMs), ...surprises].slice(
        -surprisesMax,
      ),
    },
    pausedUntil: until,
    spareMs,
  }
}

/** A trial falls back to what held, or to where it was when it was refused; lower only when counts say much less. */
function afterTrial(held: number, tried: number, { least, most, lastTenSeconds }: Counts): number {
  if (least * safePace < held * takeBackShare) return wholeRpm(least * safePace)
  if (lastTenSeconds < fineRpm) return held
  return Math.max(held, Math.min(tried - safePace, wholeRpm(most * safePace)))
}

/**
 * A rate that had held is refused: down to what was borne in the last ten seconds, by 3 % at least, and at most by a
 * step that doubles each time it was too small. Or to what the asked-for wait shows, when that is less.
 */
function lowered(
  inForce: number,
  { step, tries }: { step: number; tries: number },
  counts: Counts,
  startsLastMinute: number,
): number {
  const furthest = inForce * (1 - Math.min(dropMax, step * 2 ** tries))
  const stepped = Math.max(furthest, Math.min(counts.lastTenSeconds * safePace, inForce * (1 - dropMin)))
  // Counts of a minute with few starts say nothing.
  const leastCredible = startsLastMinute < 0.8 * inForce ? inForce / 2 : 0
  const wanted = Math.min(stepped, Math.max(counts.least, leastCredible) * safePace)
  return Math.max(safePace, Math.min(wholeRpm(wanted), wholeRpm(inForce - safePace)))
}

/** Starts a minute, counted over the window that was full. */
type Counts = { readonly least: number; readonly most: number; readonly lastTenSeconds: number }

/**
 * What the deployment bore of ours. A refusal means that a window was full: of 10 s or of 60 s, which is not said, so
 * the larger count is taken. When the limit has just fallen, the window is more than full; the wait then says which of
 * our starts must leave it first, and those after it are the limit.
 */
function count({ slotAt, retryAfterMs, startsSince }: Refusal): Counts {
  const mostOf = (windowMs: number): number => ((startsSince(slotAt - windowMs) - 1) * 60_000) / windowMs
  const leastOf = (windowMs: number): number => {
    if (retryAfterMs === null) return mostOf(windowMs)
    if (retryAfterMs > windowMs) return 0
    // Waits are rounded up to seconds: the start that must leave lies within that second.
    const after = startsSince(slotAt - windowMs + retryAfterMs)
    const within = startsSince(slotAt - windowMs + retryAfterMs - 1_000)
    return (Math.min(after + 1, within) * 60_000) / windowMs
  }
  return {
    least: Math.max(leastOf(60_000), leastOf(10_000)),
    most: Math.max(mostOf(60_000), mostOf(10_000)),
    lastTenSeconds: mostOf(10_000),
  }
}

/** The wait asked for is longer than anybody should sleep on: single requests ask again, at growing intervals. */
function parked(level: Level, refusal: Refusal, askedMs: number): Refused {
  const { now, slotAt, givenUntil } = refusal
  if (level.pause.cause === 'parked' && slotAt < level.pause.until)
    return { level, pausedUntil: level.pause.until }
  const tries = triesOf('parked', level, refusal)
  const waitMs = Math.min(askedMs, parkMaxMs, parkFirstMs * 2 ** tries)
  return pausedFor('parked', level, Math.max(now + waitMs, givenUntil), tries)
}

/** Azure is busy, whatever our rate: single refusals are passed over, spells are waited out. */
function highDemand(level: Level, refusal: Refusal): Refused {
  const { now, slotAt, givenUntil, retryAfterMs, startsSince } = refusal
  if (slotAt < level.pause.until) return { level, pausedUntil: level.pause.until }
  const capacityAt = [...level.capacityAt, slotAt].slice(-spellCount)
  const tries = triesOf('capacity', level, refusal)
  const [first = now] = capacityAt
  const isSpell = capacityAt.length === spellCount && startsSince(first - 1) <= spellStarts
  if (tries === 0 && !isSpell) return { level: { ...level, capacityAt }, pausedUntil: 0 }
  const waitMs = Math.max(retryAfterMs ?? 0, Math.min(pauseMaxMs, pauseDefaultMs * 2 ** tries))
  return pausedFor('capacity', { ...level, capacityAt: [] }, Math.max(now + waitMs, givenUntil), tries)
}

/** How many probes in a row were refused for this cause, this one included; 0 when it is no probe after such a pause. */
function triesOf(cause: Pause['cause'], { pause }: Level, { startsSince }: Refusal): number {
  return pause.cause === cause && startsSince(pause.until - 1) === 1 ? pause.tries + 1 : 0
}

function pausedFor(cause: Pause['cause'], level: Level, until: number, tries: number): Refused {
  const pause = { cause, until, givenUntil: until, settledAt: until, tries }
  return { level: { ...level, pause }, pausedUntil: until }
}
