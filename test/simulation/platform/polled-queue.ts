import { createPollDelay } from '../../../src/local/host/poll-delay.ts'
import type { Instance } from '../instance.ts'
import type { Message, SimulatedQueue } from '../queue.ts'
import type { HostedQueue } from '../world.ts'

/** host.json, and what the real host does by it (docs/functions-host.md). */
export const hostJson = {
  batchSize: 32,
  newBatchThreshold: 64,
  maxPollingIntervalMs: 2_000,
  visibilityTimeoutMs: 30_000,
  maxDequeueCount: 10,
} as const
/** How long a message is hidden while its function runs; renewed at half for as long as the instance lives. */
const leaseMs = 600_000

/** A storage queue as the scale controller and the hosts' listeners see it. */
export type PolledQueue<T> = SimulatedQueue<T> & {
  /** All messages, hidden ones too, and whether a peek finds one: what the platform samples. */
  sample(): { readonly count: number; readonly isVisible: boolean }
  /** Polls for the instance until it is drained. */
  listen(instance: Instance): Listener
  /** The most deliveries of one message. */
  deliveriesMax(): number
}

export type Listener = {
  /** Takes nothing new; settles when what runs has ended. */
  drain(): Promise<void>
  /** The host takes these runs for failed, whatever their code still does (host #12007). */
  abort(isMeant: (run: { readonly startedAt: number }) => boolean): void
  running(): number
}

export type QueueOptions = {
  readonly maxPollingIntervalMs: number
  readonly storageMs: () => number
  /** How much later than asked a message becomes visible. */
  readonly lateMs: () => number
  /** A message that means nothing comes so often, for the platform to find one. */
  readonly heartbeatMs: number | undefined
}

type Item<T> = {
  /** Undefined for a heartbeat. */
  readonly message: Message<T> | undefined
  visibleAt: number
  deliveries: number
  /** Changes with whoever may delete it. */
  receipt: number
  isPoison: boolean
}

type Run = { readonly startedAt: number; readonly abort: AbortController; readonly ended: Promise<void> }

export function polledQueue<T>(
  { name, clock, chance, handle, handlePoison }: HostedQueue<T>,
  { maxPollingIntervalMs, storageMs, lateMs, heartbeatMs }: QueueOptions,
): PolledQueue<T> {
  const held = new Map<string, Item<T>>()
  let sent = 0
  let deliveriesMax = 0

  function put(body: T | undefined, visibleAt: number): string {
    sent += 1
    const id = `${name}-${sent}`
    const message = body === undefined ? undefined : { id, body, insertedAt: clock.now() }
    held.set(id, { message, visibleAt, deliveries: 0, receipt: 0, isPoison: false })
    return id
  }

  if (heartbeatMs !== undefined) {
    const beat = (): void => {
      put(undefined, clock.now())
      clock.at(clock.now() + heartbeatMs, beat)
    }
    beat()
  }

  const visible = (): [string, Item<T>][] =>
    [...held]
      .filter(([, { visibleAt }]) => visibleAt <= clock.now())
      .sort(([, a], [, b]) => a.visibleAt - b.visibleAt)

  async function run(instance: Instance, [id, item]: [string, Item<T>], aborted: AbortSignal): Promise<void> {
    item.receipt += 1
    item.deliveries += 1
    item.visibleAt = clock.now() + leaseMs
    const { receipt, message } = item
    if (message !== undefined) deliveriesMax = Math.max(deliveriesMax, item.deliveries)
    keepHidden(instance, id, receipt)
    const work =
      message === undefined ? Promise.resolve() : (item.isPoison ? handlePoison : handle)(instance, message)
    const isDone = await endOf(instance.runs(name, work), aborted)
    if (item.receipt !== receipt) return
    if (isDone) held.delete(id)
    else fail(item)
  }

  function fail(item: Item<T>): void {
    item.receipt += 1
    if (item.isPoison) item.visibleAt = clock.now() + leaseMs
    else if (item.deliveries < hostJson.maxDequeueCount) {
      item.visibleAt = clock.now() + hostJson.visibilityTimeoutMs
    } else {
      item.visibleAt = clock.now()
      item.isPoison = true
      item.deliveries = 0
    }
  }

  function keepHidden(instance: Instance, id: string, receipt: number): void {
    clock.at(clock.now() + leaseMs / 2, () => {
      const item = held.get(id)
      if (item === undefined || item.receipt !== receipt || !instance.isAlive()) return
      item.visibleAt = clock.now() + leaseMs
      keepHidden(instance, id, receipt)
    })
  }

  return {
    send: (body, visibleAt) => put(body, visibleAt + lateMs()),
    size: () => [...held.values()].filter(({ message }) => message !== undefined).length,
    sample: () => ({ count: held.size, isVisible: visible().length > 0 }),
    deliveriesMax: () => deliveriesMax,
    listen(instance) {
      const stopping = new AbortController()
      const runs = new Set<Run>()
      const polling = poll()

      async function poll(): Promise<void> {
        const delay = createPollDelay(maxPollingIntervalMs, chance)
        while (!stopping.signal.aborted && instance.isAlive()) {
          await clock.sleepUntil(clock.now() + storageMs())
          const found = stopping.signal.aborted ? [] : visible().slice(0, hostJson.batchSize)
          for (const each of found) begin(each)
          if (found.length === 0) await clock.sleepUntil(clock.now() + delay.next(), stopping.signal)
          else delay.reset()
          while (runs.size > hostJson.newBatchThreshold) {
            await Promise.race([...runs].map(({ ended }) => ended))
          }
        }
      }

      function begin(each: [string, Item<T>]): void {
        const abort = new AbortController()
        const ended = run(instance, each, abort.signal).finally(() => runs.delete(current))
        const current: Run = { startedAt: clock.now(), abort, ended }
        runs.add(current)
      }

      return {
        running: () => runs.size,
        async drain() {
          stopping.abort()
          await polling
          await Promise.all([...runs].map(({ ended }) => ended))
        },
        abort(isMeant) {
          for (const run of [...runs].filter(isMeant)) run.abort.abort()
        },
      }
    },
  }
}

/** Whether the run came to a good end. One that is aborted is a failure to its host, whatever its code still does. */
async function endOf(work: Promise<unknown>, aborted: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    aborted.addEventListener('abort', () => resolve(false), { once: true })
    work.then(
      () => resolve(true),
      () => resolve(false),
    )
  })
}
