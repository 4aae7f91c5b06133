import type { Chance } from '../../../src/ports/clock.ts'
import type { VirtualClock } from '../../support/virtual-clock.ts'
import type { Instance } from '../instance.ts'
import { hostJson, type Listener, type PolledQueue } from './polled-queue.ts'

export type ScaleSettings = {
  /** From one look at the queue to the next. */
  readonly sampleMs: number
  /** From the decision to start an instance to its first poll. */
  readonly coldMs: number
  /** Instances that are never taken away. */
  readonly alwaysReady: number
}

/** An instance goes when no sample wanted it for so long. */
export const quietMs = 30_000
const messagesPerInstance = hostJson.batchSize + hostJson.newBatchThreshold
const workLookMs = 1_000

export type ScaleReport = {
  /** Since its queue first had a message. */
  readonly observedMs: number
  /** Time in which no instance listened. */
  readonly unheardMs: number
  /** Instances that were started where none listened. */
  readonly coldWakes: number
  /** Instances that run something, in the mean: what is billed, but for its rounding. */
  readonly busy: number
}

/**
 * Starts and drains the instances of one function by the length of its queue, which it takes for empty where a peek
 * finds nothing. Sources: QueueMetricsProvider and QueueTargetScaler of azure-sdk-for-net. How often it looks, and what
 * it makes of the votes, is assumed: what any sample of the last 30 s wanted is kept, and what one wants is started.
 */
export function scaleController<T>(
  { sampleMs, coldMs, alwaysReady }: ScaleSettings,
  world: {
    readonly clock: VirtualClock
    readonly chance: Chance
    readonly queue: PolledQueue<T>
    readonly launch: () => Instance
    /** Told of an instance that takes nothing new from now on. */
    readonly onDrain: (instance: Instance, listener: Listener) => void
  },
): { report(): ScaleReport } {
  const { clock, chance, queue } = world
  const listening = new Map<Instance, Listener>()
  const draining = new Set<Listener>()
  let votes: readonly { readonly at: number; readonly wanted: number }[] = []
  let starting = 0
  let firstAt: number | undefined
  let countedAt = clock.now()
  let unheardMs = 0
  let busyMs = 0
  let coldWakes = 0

  /** Adds up the time since the last change. */
  function count(): void {
    if (firstAt !== undefined && listening.size === 0) unheardMs += clock.now() - countedAt
    countedAt = clock.now()
  }

  function start(): void {
    count()
    const instance = world.launch()
    listening.set(instance, queue.listen(instance))
  }

  function startLater(): void {
    starting += 1
    clock.at(clock.now() + coldMs, () => {
      starting -= 1
      if (listening.size === 0) coldWakes += 1
      start()
    })
  }

  async function drain(instance: Instance, listener: Listener): Promise<void> {
    count()
    listening.delete(instance)
    draining.add(listener)
    world.onDrain(instance, listener)
    await listener.drain()
    draining.delete(listener)
    instance.kill()
  }

  /** The platform notices an instance that has died by itself. */
  function bury(): void {
    for (const instance of listening.keys()) {
      if (instance.isAlive()) continue
      count()
      listening.delete(instance)
    }
  }

  function look(): void {
    bury()
    const { count: length, isVisible } = queue.sample()
    if (length > 0 && firstAt === undefined) {
      count()
      firstAt = clock.now()
    }
    const wanted = isVisible ? Math.ceil(length / messagesPerInstance) : 0
    votes = [...votes.filter(({ at }) => at > clock.now() - quietMs), { at: clock.now(), wanted }]
    const target = Math.max(alwaysReady, ...votes.map((vote) => vote.wanted))
    for (let more = target - listening.size - starting; more > 0; more -= 1) startLater()
    for (const [instance, listener] of [...listening].slice(target)) void drain(instance, listener)
    // No clock is so even that it would look past, or at, the same moment of a rhythm of ours every time.
    clock.at(clock.now() + sampleMs * (0.9 + 0.2 * chance()), look)
  }

  function lookAtWork(): void {
    const busy = [...listening.values(), ...draining].filter((listener) => listener.running() > 0)
    busyMs += busy.length * workLookMs
    clock.at(clock.now() + workLookMs, lookAtWork)
  }

  for (let index = 0; index < alwaysReady; index += 1) start()
  clock.at(clock.now() + chance() * sampleMs, look)
  lookAtWork()

  return {
    report() {
      count()
      const observedMs = clock.now() - (firstAt ?? clock.now())
      return { observedMs, unheardMs, coldWakes, busy: busyMs / Math.max(1, observedMs) }
    },
  }
}
