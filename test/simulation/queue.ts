import type { Chance } from '../../src/ports/clock.ts'
import type { VirtualClock } from '../support/virtual-clock.ts'
import type { Instance } from './instance.ts'

/** A message of a storage queue, as the functions host hands it to a function. */
export type Message<T> = { readonly id: string; readonly body: T; readonly insertedAt: number }

export type SimulatedQueue<T> = {
  /** Answers the message's id. */
  send(body: T, visibleAt: number): string
  /** Messages that are not yet done with. */
  size(): number
}

export type QueueSettings = {
  readonly clock: VirtualClock
  readonly chance: Chance
  readonly instances: () => readonly Instance[]
  /** From the time a message becomes visible to its delivery. */
  readonly wakeDelayMs: () => number
  /** How often a message is delivered a second time, out of 1, although the first delivery is well. */
  readonly duplicates: () => number
  /** How many messages of the queue one instance has in work. */
  readonly atOnce: number
}

/** host.json: how long a message whose function failed stays hidden, and after how many deliveries it is poison. */
const failedHiddenMs = 10_000
const deliveriesMax = 5
/** A message whose instance died comes back when its lease has ended. */
const leaseMs = 600_000

/** A storage queue and the functions hosts that listen to it: at least once, late, in no order. */
export function simulatedQueue<T>(
  name: string,
  { clock, chance, instances, wakeDelayMs, duplicates, atOnce }: QueueSettings,
  handle: (instance: Instance, message: Message<T>) => Promise<unknown>,
  handlePoison: (instance: Instance, message: Message<T>) => Promise<unknown>,
): SimulatedQueue<T> {
  type Held = { readonly message: Message<T>; deliveries: number; receipt: number; isPoison: boolean }
  const held = new Map<string, Held>()
  let sent = 0

  function deliverAt(time: number, item: Held, receipt: number): void {
    clock.at(time, () => {
      if (held.get(item.message.id) === item && item.receipt === receipt) deliver(item)
    })
  }

  function deliver(item: Held): void {
    const free = instances().filter((instance) => instance.isListening() && instance.busy(name) < atOnce)
    const instance = free[Math.floor(chance() * free.length)]
    if (instance === undefined) {
      deliverAt(clock.now() + 200 + wakeDelayMs(), item, item.receipt)
      return
    }
    item.receipt += 1
    item.deliveries += 1
    const { receipt } = item
    keepHidden(instance, item, receipt)
    invoke(instance, item, (isDone) => {
      if (item.receipt !== receipt) return
      if (isDone) {
        held.delete(item.message.id)
        return
      }
      item.receipt += 1
      if (item.deliveries >= deliveriesMax) {
        item.isPoison = true
        item.deliveries = 0
      }
      deliverAt(clock.now() + failedHiddenMs + wakeDelayMs(), item, item.receipt)
    })
    if (chance() < duplicates()) clock.at(clock.now() + chance() * 5_000, () => deliverAgain(item))
  }

  /** The host renews the lease for as long as the function runs, and the instance lives. */
  function keepHidden(instance: Instance, item: Held, receipt: number): void {
    clock.at(clock.now() + leaseMs, () => {
      if (held.get(item.message.id) !== item || item.receipt !== receipt) return
      if (instance.isAlive()) keepHidden(instance, item, receipt)
      else deliver(item)
    })
  }

  function deliverAgain(item: Held): void {
    const free = instances().filter((instance) => instance.isListening())
    const instance = free[Math.floor(chance() * free.length)]
    if (instance !== undefined) invoke(instance, item, () => {})
  }

  function invoke(instance: Instance, item: Held, end: (isDone: boolean) => void): void {
    const work = (item.isPoison ? handlePoison : handle)(instance, item.message)
    instance.runs(name, work).then(
      () => end(true),
      () => end(false),
    )
  }

  return {
    send(body, visibleAt) {
      sent += 1
      const id = `${name}-${sent}`
      const item: Held = {
        message: { id, body, insertedAt: clock.now() },
        deliveries: 0,
        receipt: 0,
        isPoison: false,
      }
      held.set(id, item)
      deliverAt(Math.max(clock.now(), visibleAt) + wakeDelayMs(), item, item.receipt)
      return id
    },
    size: () => held.size,
  }
}
