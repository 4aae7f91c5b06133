import {
  heldRpm,
  isStormy,
  limitRpm,
  memoryMs,
  paceRpm,
  perTenSecondsRpm,
  safePace,
  underLimit,
  wholeRpm,
  type Level,
  type Limits,
} from './level.ts'

/** What the refusals of a deployment look like, for people. `text` says so where two causes look alike. */
type Opinion = {
  readonly kind:
    | 'steady'
    | 'rising'
    | 'at the refused level'
    | 'quota lowered or shared'
    | 'another client'
    | 'counts per 10 s'
    | 'headers'
    | 'capacity'
    | 'parked'
  readonly text: string
}

export function opinion(stored: Level, limits: Limits, now: number): Opinion {
  const level = underLimit(stored, limits)
  return paused(level, now) ?? shortOfLimit(level, limits, now) ?? atLimit(level, limits, now)
}

function paused({ pause }: Level, now: number): Opinion | undefined {
  if (now >= pause.until) return undefined
  const next = `One request asks again ${inWords(pause.until - now)}; refused ${pause.tries + 1} times so far.`
  if (pause.cause === 'parked') {
    return { kind: 'parked', text: `The deployment asks for a wait that is too long to sleep on. ${next}` }
  }
  if (pause.cause === 'capacity') {
    return { kind: 'capacity', text: `Azure says that demand is high; our rate is not the reason. ${next}` }
  }
  return undefined
}

/** Why less is in force than the pace of the limit; undefined when it is not. */
function shortOfLimit(level: Level, limits: Limits, now: number): Opinion | undefined {
  const held = heldRpm(level, limits)
  if (held > paceRpm(level, limits) - 0.01) return undefined
  const limit = limitRpm(level, limits)
  const bears = `${perMinute(held)} hold of a limit of ${perMinute(limit)}`
  const refusedAt = level.refusal === null ? '' : `; ${perMinute(level.refusal.rpm)} were refused`
  const facts = `${bears}${refusedAt}.`
  if (level.triedRpm !== null && level.refusal === null) {
    return { kind: 'rising', text: `${facts} ${perMinute(level.triedRpm)} are being tried.` }
  }
  if (limit > limits.rpm && isAbout(held, limits.rpm)) {
    const text = `${facts} The headers say ${perMinute(limit)}, but only about IMAGE_RPM is borne.`
    return { kind: 'headers', text }
  }
  if (isStormy(level, now)) {
    const text = `${facts} What held is refused again and again: another client seems to start at random, or the quota moves.`
    return { kind: 'another client', text }
  }
  if (limit < 60 && isAbout(held, perTenSecondsRpm(limit))) {
    const text = `${facts} That is what remains when whole requests per 10 s are counted; a quota of ${perMinute(perTenSecondsRpm(limit))} looks the same.`
    return { kind: 'counts per 10 s', text }
  }
  if (held > 0.95 * paceRpm(level, limits)) {
    return { kind: 'at the refused level', text: `${facts} More is tried now and then.` }
  }
  const text = `${facts} A lowered quota and another client that starts evenly look the same. More is tried now and then.`
  return { kind: 'quota lowered or shared', text }
}

function atLimit(level: Level, limits: Limits, now: number): Opinion {
  const limit = limitRpm(level, limits)
  const inUse = `${perMinute(level.triedRpm ?? heldRpm(level, limits))} of ${perMinute(limit)} are in force`
  if (level.refusal !== null && now < level.refusal.at + memoryMs) {
    return {
      kind: 'at the refused level',
      text: `${inUse}; ${perMinute(level.refusal.rpm)} were refused within the hour.`,
    }
  }
  if (level.toldRpm !== null && level.toldRpm !== limits.rpm) {
    return { kind: 'headers', text: `${inUse}, as the headers say; IMAGE_RPM is ${perMinute(limits.rpm)}.` }
  }
  if (level.triedRpm !== null) return { kind: 'rising', text: `${inUse}: a little more is being tried.` }
  return { kind: 'steady', text: `${inUse}; nothing was refused lately.` }
}

function isAbout(held: number, limit: number): boolean {
  return Math.abs(held - wholeRpm(limit * safePace)) < 0.01 + 0.02 * held
}

function perMinute(rpm: number): string {
  return `${Math.round(rpm * 10) / 10} a minute`
}

function inWords(durationMs: number): string {
  const seconds = Math.ceil(durationMs / 1_000)
  return seconds < 120 ? `in ${seconds} s` : `in ${Math.ceil(seconds / 60)} min`
}
