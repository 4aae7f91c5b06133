import { limits } from '../../core/limits.ts'
import { isOver, liveId, placeOf, type LiveJob, type LivePlace } from '../../core/batches/live.ts'
import { timing } from '../../core/timing.ts'
import { watchBatch, type BatchWatch } from './batch-watch.ts'
import type { Context } from '../context.ts'
import { finishedSince } from './finished-since.ts'
import type { BatchStatus } from './status.ts'

export type LiveEvent =
  /** `place`: what one who comes back from here says; undefined: nothing was passed over. */
  | { readonly kind: 'counts'; readonly status: BatchStatus; readonly place: LivePlace | undefined }
  | { readonly kind: 'job'; readonly job: LiveJob }
  /** The batch is over; the last event. */
  | { readonly kind: 'batch'; readonly status: BatchStatus }
  /** Nothing happened for a while. */
  | { readonly kind: 'alive' }
  /** The last event: the reader is to come back and say where it was. */
  | { readonly kind: 'pause' }

type LiveQuery = {
  readonly batch: string
  /** Where the reader was; undefined: it is new. */
  readonly after: LivePlace | undefined
  /** A new reader wants jobs that finish from now on only. */
  readonly isNewOnly: boolean
}

/**
 * What happens in a batch: its counts when they change, at most once a second, each finished job, and its end. A reader
 * that comes back gets again what finished shortly before the place where it was, because rows may be written late:
 * an event may come twice, under the same id, and none is left out.
 *
 * It reads no faster than its reader takes it, and keeps nothing for it: one that falls far behind is sent away to come
 * again. Ends when `gone` is aborted.
 */
export async function* liveEvents(
  context: Context,
  query: LiveQuery,
  gone: AbortSignal | undefined,
): AsyncGenerator<readonly LiveEvent[]> {
  const sleeper = newSleeper(context, [context.stopping, ...(gone === undefined ? [] : [gone])])
  const { watch, leave } = watchBatch(context, query.batch, sleeper.wake)
  // Not only at the end: a reader that leaves while it is being sent to is never asked again.
  gone?.addEventListener('abort', leave, { once: true })
  try {
    for await (const events of follow(context, query, watch, sleeper)) {
      if (gone?.aborted === true) return
      yield events
    }
  } finally {
    gone?.removeEventListener('abort', leave)
    sleeper.end()
    leave()
  }
}

async function* follow(
  context: Context,
  { batch, after, isNewOnly }: LiveQuery,
  watch: BatchWatch,
  sleeper: Sleeper,
): AsyncGenerator<readonly LiveEvent[]> {
  const { clock, stopping } = context
  const joinedAt = clock.now()
  const closesAt = joinedAt + timing.liveStreamMs
  while (watch.status === undefined && watch.state === 'on' && !sleeper.isCalledOff()) {
    await sleeper.until(clock.now() + timing.keepAliveMs)
    if (watch.status === undefined) yield [{ kind: 'alive' }]
  }
  if (watch.status === undefined) return yield [{ kind: 'pause' }]
  // From here on what is new is in the log; what was there before is read from storage.
  let next = watch.first + watch.log.length
  const isFromNow = after === undefined && isNewOnly
  let counts = countsOf(watch.status)
  yield [
    {
      kind: 'counts',
      status: watch.status,
      place: isFromNow ? { kind: 'job', at: joinedAt, key: '' } : undefined,
    },
  ]
  const sent = new Set<string>()
  if (!isFromNow) {
    const from = after === undefined ? 0 : Math.max(0, after.at - timing.finishedLateMs)
    for await (const page of finishedSince(context, { batch, from })) {
      for (const job of page) {
        // Only these may stand in the log as well.
        if (job.finishedAt > joinedAt - 2 * timing.finishedLateMs) sent.add(liveId(placeOf(job)))
      }
      yield page.map((job) => ({ kind: 'job', job }))
      if (sleeper.isCalledOff() || clock.now() >= closesAt) return yield [{ kind: 'pause' }]
    }
  }
  let quietSince = clock.now()
  for (;;) {
    if (next < watch.first) return yield [{ kind: 'pause' }]
    const jobs = watch.log.slice(next - watch.first, next - watch.first + limits.liveEventsAtOnce)
    next += jobs.length
    const events = jobs
      .filter((job) => !sent.has(liveId(placeOf(job))))
      .map((job): LiveEvent => ({ kind: 'job', job }))
    if (countsOf(watch.status) !== counts) {
      events.push({ kind: 'counts', status: watch.status, place: undefined })
      counts = countsOf(watch.status)
    }
    const isDrained = next === watch.first + watch.log.length
    if (isDrained && isOver(watch.status.status))
      return yield [...events, { kind: 'batch', status: watch.status }]
    const isLast =
      watch.state === 'lost' || stopping.aborted || sleeper.isCalledOff() || clock.now() >= closesAt
    if (isLast) return yield [...events, { kind: 'pause' }]
    if (events.length === 0 && isDrained && clock.now() >= quietSince + timing.keepAliveMs) {
      events.push({ kind: 'alive' })
    }
    if (events.length > 0) {
      yield events
      quietSince = clock.now()
    } else if (isDrained) await sleeper.until(Math.min(quietSince + timing.keepAliveMs, closesAt))
  }
}

/** What is worth an event when it changes; estimates move all the time. */
function countsOf({ status, counts, counters }: BatchStatus): string {
  return JSON.stringify([status, counts, counters.images])
}

type Sleeper = {
  /** Until the time, or somebody wakes it; at once if somebody did since the last sleep. */
  until(at: number): Promise<void>
  readonly wake: () => void
  /** One of the signals was aborted. */
  isCalledOff(): boolean
  end(): void
}

function newSleeper({ clock }: Context, signals: readonly AbortSignal[]): Sleeper {
  let woken = new AbortController()
  const wake = (): void => woken.abort()
  for (const signal of signals) signal.addEventListener('abort', wake, { once: true })
  return {
    wake,
    async until(at) {
      await clock.sleepUntil(at, woken.signal)
      if (woken.signal.aborted) woken = new AbortController()
    },
    isCalledOff: () => signals.some(({ aborted }) => aborted),
    end() {
      for (const signal of signals) signal.removeEventListener('abort', wake)
    },
  }
}
