/**
 * Slots given on a deployment over the last two minutes and ahead, as runs of evenly spaced ones. Slots come evenly, so
 * a few runs hold them exactly at any rate: at 9 a minute a single start more or less is a tenth of all.
 */
export type Starts = readonly Run[]

/** `count` slots from `firstAt` to `lastAt`, evenly spaced. Times are epoch milliseconds. */
export type Run = { readonly firstAt: number; readonly lastAt: number; readonly count: number }

/** What lies this far behind the newest slot is forgotten: the longest window is a minute, and slots lie ahead. */
const keptMs = 150_000
/** Where slots come unevenly, runs are short; the oldest are then joined, which only blurs them. */
const runsMax = 60
/** Slots are rounded to a microsecond; a distance that differs by more than this share is another spacing. */
const unevenness = 0.001
/** A run has one spacing, its mean: it is short enough for that to be true of any part of it. */
const runMaxMs = 60_000

/** With one more slot, which must not lie before the last one. */
export function withSlot(starts: Starts, slotAt: number): Starts {
  const kept = starts.filter(({ lastAt }) => lastAt > slotAt - keptMs)
  const last = kept.at(-1)
  const next: Run = { firstAt: slotAt, lastAt: slotAt, count: 1 }
  if (last === undefined) return [next]
  if (continues(last, slotAt)) {
    return [...kept.slice(0, -1), { ...last, lastAt: slotAt, count: last.count + 1 }]
  }
  const [oldest, second, ...rest] = kept
  if (oldest === undefined || second === undefined || kept.length < runsMax) return [...kept, next]
  const joined = { firstAt: oldest.firstAt, lastAt: second.lastAt, count: oldest.count + second.count }
  return [joined, ...rest, next]
}

/** Without the slots in [from, until): they were given back unsent. */
export function withoutSlots(starts: Starts, from: number, until: number): Starts {
  return starts.flatMap((run) => {
    const before = slotsBefore(run, from)
    const upTo = slotsBefore(run, until)
    if (before === upTo) return [run]
    return [part(run, 0, before), part(run, upTo, run.count)].flat()
  })
}

/** How many slots lie after `from`, up to and including `until`. */
export function startsBetween(starts: Starts, from: number, until: number): number {
  return starts.reduce(
    (total, run) => total + slotsBefore(run, until + toleranceMs) - slotsBefore(run, from + toleranceMs),
    0,
  )
}

/** A slot's time is computed anew from its run, and may be off by a rounding. */
const toleranceMs = 0.01

function continues({ firstAt, lastAt, count }: Run, slotAt: number): boolean {
  if (count === 1) return true
  if (slotAt - firstAt > runMaxMs) return false
  const spacing = (lastAt - firstAt) / (count - 1)
  return Math.abs(slotAt - lastAt - spacing) <= unevenness * spacing
}

function slotsBefore(run: Run, at: number): number {
  if (at <= run.firstAt) return 0
  if (at > run.lastAt) return run.count
  return Math.min(run.count, Math.ceil((at - run.firstAt) / spacingOf(run)))
}

function part(run: Run, from: number, until: number): readonly Run[] {
  if (from >= until) return []
  const spacing = spacingOf(run)
  return [
    {
      firstAt: run.firstAt + from * spacing,
      lastAt: until === run.count ? run.lastAt : run.firstAt + (until - 1) * spacing,
      count: until - from,
    },
  ]
}

function spacingOf({ firstAt, lastAt, count }: Run): number {
  return (lastAt - firstAt) / Math.max(1, count - 1)
}
