import type { Clock } from '../../src/ports/clock.ts'

/** Time moved by hand: it stands still while anything can still run, and then jumps to the next timer. */
export type VirtualClock = Clock & {
  /** Calls `act` at the given time, or at once when that has passed. */
  at(time: number, act: () => void): void
  /** Moves time on until the work is done. A work that waits for nothing that will ever come is a fault. */
  run<T>(work: Promise<T>): Promise<T>
  /** Moves time on, to the end of what happens at the given time. */
  runUntil(time: number): Promise<void>
  /** Moves time on, timer by timer, until `isDone`; false when `deadline` came first. */
  runWhile(isUndone: () => boolean, deadline: number): Promise<boolean>
}

type Timer = { readonly at: number; readonly order: number; readonly act: () => void; isCancelled: boolean }

export function virtualClock(startAt = Date.UTC(2026, 0, 5, 12)): VirtualClock {
  const timers = timerHeap()
  let now = startAt
  let timersMade = 0

  function setTimer(at: number, act: () => void): Timer {
    timersMade += 1
    const timer = { at: Math.max(at, now), order: timersMade, act, isCancelled: false }
    timers.push(timer)
    return timer
  }

  /** False when there is no timer up to the given time. */
  async function step(until: number): Promise<boolean> {
    await everythingElse()
    let timer = timers.first()
    while (timer?.isCancelled === true) {
      timers.pop()
      timer = timers.first()
    }
    if (timer === undefined || timer.at > until) return false
    timers.pop()
    now = timer.at
    timer.act()
    return true
  }

  return {
    now: () => now,
    at: (time, act) => void setTimer(time, act),
    async sleepUntil(at, signal) {
      if (at <= now || signal?.aborted === true) return
      await new Promise<void>((resolve) => {
        const stop = (): void => {
          timer.isCancelled = true
          resolve()
        }
        const timer = setTimer(at, () => {
          signal?.removeEventListener('abort', stop)
          resolve()
        })
        signal?.addEventListener('abort', stop, { once: true })
      })
    },
    async run(work) {
      const state = { isSettled: false }
      const settled = work.finally(() => {
        state.isSettled = true
      })
      settled.catch(() => {})
      while (!state.isSettled) {
        const isWaiting = await step(Infinity)
        if (!isWaiting && !state.isSettled) {
          throw new Error('the work waits for something that never comes: no timer is left')
        }
      }
      return settled
    },
    async runUntil(time) {
      while (await step(time));
      now = Math.max(now, time)
    },
    async runWhile(isUndone, deadline) {
      while (isUndone()) {
        if (!(await step(deadline))) return false
      }
      return true
    },
  }
}

/** What needs no time: an immediate comes after every promise that can be kept now. */
async function everythingElse(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

/** A binary heap by time; timers of one time go off in the order they were set. */
function timerHeap(): { push(timer: Timer): void; first(): Timer | undefined; pop(): void } {
  const heap: Timer[] = []
  const isBefore = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
  return {
    push(timer) {
      let index = heap.push(timer) - 1
      while (index > 0) {
        const parent = (index - 1) >> 1
        if (!isBefore(timer, heap[parent]!)) break
        heap[index] = heap[parent]!
        index = parent
      }
      heap[index] = timer
    },
    first: () => heap[0],
    pop() {
      const last = heap.pop()
      if (last === undefined || heap.length === 0) return
      let index = 0
      for (;;) {
        let child = 2 * index + 1
        if (child >= heap.length) break
        if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1
        if (!isBefore(heap[child]!, last)) break
        heap[index] = heap[child]!
        index = child
      }
      heap[index] = last
    },
  }
}
