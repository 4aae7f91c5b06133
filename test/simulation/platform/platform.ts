import type { Chance } from '../../../src/ports/clock.ts'
import type { Host, HostedQueue } from '../world.ts'
import { hostJson, polledQueue } from './polled-queue.ts'
import { scaleController, type ScaleReport } from './scale-controller.ts'

export type PlatformSettings = {
  readonly sampleMs: number
  readonly coldMs: number
  /** Instances that stay, by function. */
  readonly alwaysReady?: Readonly<Record<string, number>>
  readonly maxPollingIntervalMs?: number
  /** Of `image-work` only, as all below. */
  readonly heartbeatMs?: number
  /** How much later than asked a message becomes visible. */
  readonly lateMs?: (chance: Chance) => number
  /** The lead is learned from cold wakes as from any other. */
  readonly isColdLearned?: boolean
  readonly drain?: Drain
}

/** What becomes of what runs on an instance that is drained. */
export type Drain =
  | 'goes on'
  /** Its host takes what began in the last three seconds for failed a little later, though the code goes on. */
  | 'aborts the newest'
  /** The process ends a little later, with all that it does, and its host takes all of that for failed. */
  | 'ends the process'

const newestMs = 3_000

/** Flex Consumption for the functions `image-work` and `pacer`, each on instances of its own, as far as it is known. */
export function platform(
  chance: Chance,
  { sampleMs, coldMs, drain = 'goes on', ...settings }: PlatformSettings,
): {
  readonly host: Host
  report(name: string): ScaleReport
  /** How far ahead of its slot each job got it. */
  readonly aheadMs: readonly number[]
  /** The most deliveries of one message. */
  deliveriesMax(): number
} {
  const reports = new Map<string, () => ScaleReport>()
  const deliveries: (() => number)[] = []
  const aheadMs: number[] = []

  function host<T>(hosted: HostedQueue<T>): ReturnType<typeof polledQueue<T>> | undefined {
    const { name, clock } = hosted
    if (name !== 'image-work' && name !== 'pacer') return undefined
    const isWork = name === 'image-work'
    const queue = polledQueue(
      { ...hosted, chance },
      {
        maxPollingIntervalMs: settings.maxPollingIntervalMs ?? hostJson.maxPollingIntervalMs,
        storageMs: () => 8 + chance() * 15,
        lateMs: () => (isWork ? (settings.lateMs?.(chance) ?? 0) : 0),
        heartbeatMs: isWork ? settings.heartbeatMs : undefined,
      },
    )
    const controller = scaleController(
      { sampleMs, coldMs, alwaysReady: settings.alwaysReady?.[name] ?? 0 },
      {
        clock,
        chance,
        queue,
        launch() {
          const instance = hosted.launch()
          if (settings.isColdLearned === true) {
            Object.assign(instance.context.capacity.jobs, { isColdWake: () => false })
          }
          return instance
        },
        onDrain(instance, listener) {
          if (drain === 'goes on') return
          const newestAt = clock.now() - newestMs
          clock.at(clock.now() + 1_000 + chance() * 2_000, () => {
            listener.abort(({ startedAt }) => drain === 'ends the process' || startedAt > newestAt)
            if (drain === 'ends the process') instance.kill()
          })
        },
      },
    )
    reports.set(name, () => controller.report())
    deliveries.push(() => queue.deliveriesMax())
    return {
      ...queue,
      send(body, visibleAt) {
        if (typeof body === 'object' && body !== null && 'slotAt' in body) {
          aheadMs.push(Number(body.slotAt) - clock.now())
        }
        return queue.send(body, visibleAt)
      },
    }
  }

  return {
    host,
    report: (name) => reports.get(name)!(),
    aheadMs,
    deliveriesMax: () => Math.max(...deliveries.map((most) => most())),
  }
}
