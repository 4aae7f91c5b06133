import { limits } from '../../core/limits.ts'
import { isOver, liveId, placeOf, type LiveJob } from '../../core/batches/live.ts'
import { errorCode } from '../../core/log-event.ts'
import { timing } from '../../core/timing.ts'
import type { Caches } from '../caches.ts'
import type { Context } from '../context.ts'
import { finishedSince } from './finished-since.ts'
import { batchStatus, type BatchStatus } from './status.ts'

/** What one instance sees of a batch while somebody follows it. */
export type BatchWatch = {
  /** Undefined before the first look. */
  status: BatchStatus | undefined
  /** The newest finished jobs in the order in which they were seen; `first` counts those before them. */
  log: LiveJob[]
  first: number
  /** Over: nothing more comes. Lost: storage is away, and others may see more. */
  state: 'on' | 'over' | 'lost'
}

type Watched = {
  readonly watch: BatchWatch
  readonly listeners: Set<() => void>
  readonly stopping: AbortController
}

/** By the caches of the instance on which somebody follows them. */
const allWatched = new WeakMap<Caches, Map<string, Watched>>()

/**
 * Follows a batch. All who follow the same batch on this instance share one look a second, and the last one to leave
 * ends it. `onChange` is called after each look that found something.
 */
export function watchBatch(
  context: Context,
  batch: string,
  onChange: () => void,
): { readonly watch: BatchWatch; readonly leave: () => void } {
  const all = allWatched.get(context.caches) ?? new Map<string, Watched>()
  allWatched.set(context.caches, all)
  const known = all.get(batch)
  const watched = known ?? newWatched()
  watched.listeners.add(onChange)
  const forget = (): void => {
    if (all.get(batch) === watched) all.delete(batch)
  }
  if (known === undefined) {
    all.set(batch, watched)
    void keepLooking(context, batch, watched).finally(forget)
  }
  return {
    watch: watched.watch,
    leave() {
      watched.listeners.delete(onChange)
      if (watched.listeners.size > 0) return
      watched.stopping.abort()
      forget()
    },
  }
}

/** How many follow a batch on this instance. */
export function followers({ caches }: Context): number {
  const all = [...(allWatched.get(caches)?.values() ?? [])]
  return all.reduce((count, { listeners }) => count + listeners.size, 0)
}

function newWatched(): Watched {
  return {
    watch: { status: undefined, log: [], first: 0, state: 'on' },
    listeners: new Set(),
    stopping: new AbortController(),
  }
}

async function keepLooking(
  context: Context,
  batch: string,
  { watch, listeners, stopping }: Watched,
): Promise<void> {
  const { clock, log } = context
  const look = looker(context, batch, watch)
  let faults = 0
  while (!stopping.signal.aborted && watch.state === 'on') {
    const lookedAt = clock.now()
    let isNews = true
    try {
      const end = await unlessLate(clock, look())
      faults = 0
      // Storage that says nothing at all: the next look, or another instance, may find it.
      if (end === 'late') watch.state = 'lost'
      else isNews = end
    } catch (error) {
      // Storage is away: its clients have tried before. Those who follow come again, perhaps elsewhere.
      faults += 1
      log.event('storage_failed', { doing: 'events', batch, code: errorCode(error) })
      if (faults >= limits.watchFaultsMax) watch.state = 'lost'
    }
    if (isNews) for (const tell of listeners) tell()
    if (watch.state === 'on') await clock.sleepUntil(lookedAt + timing.watchMs, stopping.signal)
  }
}

/** A look that comes to nothing in time is left alone. */
async function unlessLate<T>(clock: Context['clock'], look: Promise<T>): Promise<T | 'late'> {
  const over = new AbortController()
  const late = clock.sleepUntil(clock.now() + timing.watchLookMs, over.signal).then(() => 'late' as const)
  return Promise.race([look, late]).finally(() => over.abort())
}

/**
 * Looks once; answers whether there was anything new. A job's row may be written some time after the job finished, so
 * each look goes back a little, and now and then further. The counters change with the rows: while they stand still
 * there is nothing to look for.
 */
function looker(context: Context, batch: string, watch: BatchWatch): () => Promise<boolean> {
  const seen = new Map<string, number>()
  let counted = ''
  let farAt = -Infinity
  return async () => {
    const now = context.clock.now()
    // Before the rows: what is written after the counters were read is found by the next look.
    const status = await batchStatus(context, batch)
    if (status === undefined) throw new Error(`batch ${batch} does not exist any more`)
    const isFirst = watch.status === undefined
    const isEnd = isOver(status.status)
    const isMoved = JSON.stringify(status.counters) !== counted
    counted = JSON.stringify(status.counters)
    const isFar = isFirst || isEnd || now - farAt >= timing.watchFarMs
    if (isFar) farAt = now
    const found: LiveJob[] = []
    if (isMoved || isFar) {
      const from = now - (isFar ? timing.finishedLateMs : timing.watchBackMs)
      for await (const page of finishedSince(context, { batch, from })) {
        for (const job of page) {
          const id = liveId(placeOf(job))
          if (!seen.has(id)) found.push(job)
          seen.set(id, job.finishedAt)
        }
      }
      for (const [id, at] of seen) if (at < now - timing.finishedLateMs - timing.watchBackMs) seen.delete(id)
    }
    // Who comes later reads from storage what was there before the first look.
    if (!isFirst) append(watch, found)
    const isNews = isFirst || isEnd || found.length > 0 || isMoved || status.status !== watch.status?.status
    watch.status = status
    if (isEnd) watch.state = 'over'
    return isNews
  }
}

/** Whoever is further behind than the log reaches comes again. */
function append(watch: BatchWatch, found: readonly LiveJob[]): void {
  watch.log.push(...found)
  const spare = watch.log.length - limits.liveLogMax
  if (spare <= 0) return
  watch.log.splice(0, spare)
  watch.first += spare
}
