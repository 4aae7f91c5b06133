import { chanceFrom, type Chance } from '../../../src/local/deployment/chance.ts'
import { createRateWindows, type RateRule } from '../../../src/local/deployment/windows.ts'
import { startsBetween, withoutSlots, withSlot, type Starts } from '../../../src/core/budget/starts.ts'
import type { Controller } from './controllers.ts'

/** What a deployment really bears, and what it says of it. Times are milliseconds from the start of the run. */
export type Truth = {
  readonly minutes: number
  /** The setting IMAGE_RPM. */
  readonly rpm: number
  readonly pace: number
  /** The quota in force, as it changes. */
  readonly quota: readonly Since<{ readonly rpm: number; readonly header?: number }>[]
  readonly neighbours: readonly Neighbour[]
  readonly rounding: 'ceil' | 'floor'
  readonly countRejected: boolean
  /** Rolling windows, or fixed ones that all requests wait out ("until the next evaluation period"). */
  readonly windows: 'rolling' | 'fixed'
  /** How often a 429 says when to come back, out of 1. */
  readonly hints: number
  /** Spells in which every request meets "high demand", and how often one meets it at other times, out of 1. */
  readonly spells: readonly Span[]
  readonly capacity: number
  /** Spells in which every request is told to come back after 86,400 seconds. */
  readonly blocks: readonly Span[]
  /** How much later than its slot a request may arrive. */
  readonly lateMs: number
  /** Jobs a minute that come in; undefined: there are always more than can be started. */
  readonly demand: readonly Since<{ readonly rpm: number | undefined }>[]
}

export type Since<T> = T & { readonly from: number }
export type Span = { readonly from: number; readonly until: number }
export type Neighbour = Span & { readonly rpm: number; readonly rhythm: 'even' | 'random' }

export type Report = {
  readonly starts: number
  readonly accepted: number
  /** Requests refused for their rate, and for anything else. */
  readonly refused: number
  readonly otherRefused: number
  /** Refusals that came at least this long after the one before count as another event: see `eventGapMs`. */
  readonly events: number
  /** Accepted and available in the time that lies five minutes behind the last change. */
  readonly settled: { readonly accepted: number; readonly available: number }
  readonly phases: readonly { from: number; accepted: number; available: number; refused: number }[]
  readonly opinions: readonly string[]
  readonly log: readonly string[]
}

const tickMs = 5_000
const horizonMs = 15_000
const firstSlotMs = 2_250
const checkAheadMs = 300
const viewMs = 1_000
const answerMs = 200
const settleMs = 300_000
const eventGapMs = 2_500

/** One run of our pipeline, cut down to its slots, ticks and pauses, against one deployment. */
export function study(
  truth: Truth,
  controller: Controller,
  options: { seed?: string; verbose?: boolean } = {},
): Report {
  const chance = chanceFrom('limits', options.seed ?? '')
  const endAt = truth.minutes * 60_000
  const windows = createWindows(truth)
  const instances = Math.max(1, Math.round(truth.rpm / 150))
  const views = Array.from({ length: instances }, () => ({
    readAt: -Infinity,
    pausedUntil: 0,
    offset: chance() * viewMs,
  }))
  const log: string[] = []
  const say = (at: number, text: string): void => {
    if (options.verbose === true) log.push(`${(at / 60_000).toFixed(3)} ${text}`)
  }

  const ledger: { nextFreeAt: number; pausedUntil: number; starts: Starts } = {
    nextFreeAt: 0,
    pausedUntil: 0,
    starts: [],
  }
  // Slots given: first looked at shortly before, then started. Both in order of time.
  const given = fifo<number>()
  const starting = fifo<{ at: number; slotAt: number; instance: number }>((a, b) => a.at > b.at)
  const answers = fifo<Answer>()
  const others = neighbours(truth, chance)

  const phases = changesOf(truth).map((from) => ({ from, accepted: 0, available: 0, refused: 0 }))
  let starts = 0
  let refused = 0
  let otherRefused = 0
  let events = 0
  let lastRefusedAt = -Infinity
  let waiting = 0
  let lastTickAt = 0
  let nextTickAt = 0
  const opinions: string[] = []
  let lastInForce = 0

  const phaseAt = (at: number): (typeof phases)[number] | undefined => {
    const index = phases.findLastIndex(({ from }) => from <= at)
    const phase = phases[index]
    return phase !== undefined && at >= phase.from + settleMs ? phase : undefined
  }

  function tick(now: number): void {
    const demand = valueAt(truth.demand, now).rpm
    if (demand === undefined) waiting = Infinity
    else waiting = (waiting === Infinity ? 0 : waiting) + (demand * (now - lastTickAt)) / 60_000
    lastTickAt = now
    const header = valueAt(truth.quota, now).header
    if (header !== undefined) controller.told({ now, limitRpm: header })
    controller.passed({
      now,
      startsLastMinute: startsBetween(ledger.starts, now - 60_000, now),
      givenUntil: Math.max(ledger.nextFreeAt, now + firstSlotMs),
    })
    const rpm = controller.rpm(now)
    if (rpm !== lastInForce) say(now, `level ${rpm.toFixed(2)}`)
    lastInForce = rpm
    const spacingMs = 60_000 / rpm
    while (waiting >= 1) {
      const at = Math.max(now + firstSlotMs, ledger.nextFreeAt, ledger.pausedUntil)
      if (at > now + horizonMs) break
      const gapMs = at === ledger.pausedUntil ? controller.resumeGapMs() : 0
      ledger.nextFreeAt = at + Math.max(spacingMs, gapMs)
      given.push(at)
      ledger.starts = withSlot(ledger.starts, at)
      waiting -= 1
    }
    const available = (availableAt(truth, now) * tickMs) / 60_000
    const phase = phaseAt(now)
    if (phase !== undefined) {
      phase.available += demand === undefined ? available : Math.min(available, (demand * tickMs) / 60_000)
    }
    const text = controller.text(now)
    if (text !== opinions.at(-1)?.replace(/^\S+ /, '')) opinions.push(`${(now / 60_000).toFixed(1)} ${text}`)
    nextTickAt = now + tickMs
  }

  function check(at: number): void {
    const now = at - checkAheadMs
    const instance = Math.floor(chance() * instances)
    const view = views[instance]!
    if (now - view.readAt >= viewMs) {
      view.readAt = now
      view.pausedUntil = ledger.pausedUntil
    }
    if (at >= view.pausedUntil) starting.push({ at: at + chance() * truth.lateMs, slotAt: at, instance })
    else waiting += 1
  }

  function start({ at, slotAt, instance }: { at: number; slotAt: number; instance: number }): void {
    starts += 1
    const block = truth.blocks.some((span) => isWithin(span, at))
    const judged = windows.arrive(at)
    const isRefused = judged.kind === 'throttled'
    const hint = chance() < truth.hints
    if (block || isRefused) {
      if (block) otherRefused += 1
      else {
        refused += 1
        const phase = phaseAt(at)
        if (phase !== undefined) phase.refused += 1
      }
      waiting += 1
      const retryAfterMs = block
        ? 86_400_000
        : hint && isRefused
          ? Math.max(1_000, Math.ceil(judged.retryAfterMs / 1_000) * 1_000)
          : null
      answers.push({ at: at + answerMs, slotAt, instance, retryAfterMs, cause: 'rate' })
      return
    }
    if (truth.spells.some((span) => isWithin(span, at)) || chance() < truth.capacity) {
      otherRefused += 1
      waiting += 1
      answers.push({
        at: at + answerMs,
        slotAt,
        instance,
        retryAfterMs: hint ? 5_000 : null,
        cause: 'capacity',
      })
      return
    }
    const phase = phaseAt(at)
    if (phase !== undefined) phase.accepted += 1
  }

  function answer({ at: now, slotAt, instance, retryAfterMs, cause }: Answer): void {
    if (now - lastRefusedAt > eventGapMs) events += 1
    lastRefusedAt = now
    const header = valueAt(truth.quota, now).header
    if (header !== undefined) controller.told({ now, limitRpm: header })
    const pausedUntil = controller.refused({
      now,
      slotAt,
      retryAfterMs,
      cause,
      givenUntil: ledger.nextFreeAt,
      startsSince: (from) => startsBetween(ledger.starts, from, slotAt),
    })
    say(
      now,
      `429 ${cause} of slot ${(slotAt / 1000).toFixed(2)} s, retry after ${retryAfterMs}: paused ${((pausedUntil - now) / 1000).toFixed(1)} s, level ${controller.rpm(now).toFixed(2)}`,
    )
    lastInForce = controller.rpm(now)
    if (pausedUntil > ledger.pausedUntil) {
      ledger.nextFreeAt += controller.spareMs?.() ?? 0
      ledger.starts = withoutSlots(ledger.starts, now, pausedUntil)
      ledger.pausedUntil = pausedUntil
      ledger.nextFreeAt = Math.max(ledger.nextFreeAt, pausedUntil)
    }
    const view = views[instance]!
    view.readAt = now
    view.pausedUntil = ledger.pausedUntil
  }

  for (;;) {
    const nextCheck = (given.peek() ?? Infinity) - checkAheadMs
    const nextStart = starting.peek()?.at ?? Infinity
    const nextAnswer = answers.peek()?.at ?? Infinity
    const nextOther = others.peek()
    const now = Math.min(nextCheck, nextStart, nextAnswer, nextOther, nextTickAt)
    if (now >= endAt) break
    if (now === nextOther) {
      windows.arrive(others.take())
    } else if (now === nextAnswer) answer(answers.take())
    else if (now === nextStart) start(starting.take())
    else if (now === nextCheck) check(given.take())
    else tick(now)
  }
  const settled = { accepted: 0, available: 0 }
  for (const { accepted, available } of phases) {
    settled.accepted += accepted
    settled.available += available
  }
  return {
    starts,
    accepted: starts - refused - otherRefused,
    refused,
    otherRefused,
    events,
    settled,
    phases,
    opinions,
    log,
  }
}

type Answer = {
  at: number
  slotAt: number
  instance: number
  retryAfterMs: number | null
  cause: 'rate' | 'capacity'
}

/** What evenly spaced starts could use: a minute's worth of the tighter window, less what others take of it. */
export function availableAt(truth: Truth, at: number): number {
  if (truth.blocks.some((span) => isWithin(span, at)) || truth.spells.some((span) => isWithin(span, at)))
    return 0
  const { rpm } = valueAt(truth.quota, at)
  const borne = Math.min(
    ...windowsMs.map((windowMs) => (windowLimitOf(truth, rpm, windowMs) * 60_000) / windowMs),
  )
  const taken = truth.neighbours.filter((span) => isWithin(span, at)).reduce((sum, { rpm }) => sum + rpm, 0)
  return Math.max(0, borne - taken) * (1 - truth.capacity)
}

const windowsMs = [10_000, 60_000]

function windowLimitOf({ rounding }: Truth, rpm: number, windowMs: number): number {
  return Math.max(1, Math[rounding]((rpm * windowMs) / 60_000))
}

/**
 * The windows of the simulated deployment. For counts that are rounded down each window is judged on its own, under the
 * quota that rounds to the same limit.
 */
function createWindows(truth: Truth): {
  arrive(at: number): ReturnType<ReturnType<typeof createRateWindows>['arrive']>
} {
  if (truth.windows === 'fixed') return createFixedWindows(truth)
  const windows = createRateWindows()
  if (truth.rounding === 'ceil') {
    return {
      arrive: (at) =>
        windows.arrive({
          arrivedAt: at,
          rule: { rpm: valueAt(truth.quota, at).rpm, windowsMs, countRejected: truth.countRejected },
        }),
    }
  }
  const short = createRateWindows()
  const ruleOf = (at: number, windowMs: number): RateRule => {
    const limit = windowLimitOf(truth, valueAt(truth.quota, at).rpm, windowMs)
    return { rpm: (limit * 60_000) / windowMs, windowsMs: [windowMs], countRejected: truth.countRejected }
  }
  return {
    arrive(at) {
      const byTen = short.arrive({ arrivedAt: at, rule: ruleOf(at, 10_000) })
      const byMinute = windows.arrive({ arrivedAt: at, rule: ruleOf(at, 60_000) })
      if (byTen.kind === 'throttled' && byMinute.kind === 'throttled') {
        return { kind: 'throttled', retryAfterMs: Math.max(byTen.retryAfterMs, byMinute.retryAfterMs) }
      }
      return byTen.kind === 'throttled' ? byTen : byMinute
    },
  }
}

function createFixedWindows(truth: Truth): ReturnType<typeof createWindows> {
  const counts = windowsMs.map((windowMs) => ({ windowMs, period: -1, count: 0 }))
  return {
    arrive(at) {
      const { rpm } = valueAt(truth.quota, at)
      let retryAfterMs = 0
      for (const each of counts) {
        const period = Math.floor(at / each.windowMs)
        if (period !== each.period) Object.assign(each, { period, count: 0 })
        if (each.count < windowLimitOf(truth, rpm, each.windowMs)) continue
        retryAfterMs = Math.max(retryAfterMs, (period + 1) * each.windowMs - at)
      }
      if (retryAfterMs === 0 || truth.countRejected) for (const each of counts) each.count += 1
      return retryAfterMs === 0 ? { kind: 'admitted' } : { kind: 'throttled', retryAfterMs }
    },
  }
}

/** The times at which what is available changes. */
function changesOf(truth: Truth): readonly number[] {
  const times = [
    0,
    ...truth.quota.map(({ from }) => from),
    ...truth.demand.map(({ from }) => from),
    ...[...truth.neighbours, ...truth.spells, ...truth.blocks].flatMap(({ from, until }) => [from, until]),
  ]
  return [...new Set(times)].filter((at) => at < truth.minutes * 60_000).sort((a, b) => a - b)
}

function neighbours(truth: Truth, chance: Chance): { peek(): number; take(): number } {
  const next = truth.neighbours.map(({ from }) => from)
  const peek = (): number => Math.min(Infinity, ...next)
  return {
    peek,
    take() {
      const at = peek()
      const index = next.indexOf(at)
      const { rpm, until, rhythm } = truth.neighbours[index]!
      const meanMs = 60_000 / rpm
      const following = at + (rhythm === 'even' ? meanMs : -Math.log(1 - chance()) * meanMs)
      next[index] = following < until ? following : Infinity
      return at
    },
  }
}

function fifo<T>(isAfter: (a: T, b: T) => boolean = () => false): Queue<T> {
  let items: T[] = []
  let first = 0
  return {
    push(item) {
      let place = items.length
      while (place > first && isAfter(items[place - 1]!, item)) place -= 1
      items.splice(place, 0, item)
    },
    peek: () => items[first],
    take() {
      const item = items[first]!
      first += 1
      if (first > 1_000 && first * 2 > items.length) {
        items = items.slice(first)
        first = 0
      }
      return item
    },
  }
}

type Queue<T> = { push(item: T): void; peek(): T | undefined; take(): T }

function valueAt<T>(values: readonly Since<T>[], at: number): Since<T> {
  return values.findLast(({ from }) => from <= at) ?? values[0]!
}

function isWithin({ from, until }: Span, at: number): boolean {
  return from <= at && at < until
}
