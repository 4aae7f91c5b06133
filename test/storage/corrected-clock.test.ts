import { expect, test } from 'vitest'
import type { Clock } from '../../src/ports/clock.ts'
import type { Log } from '../../src/ports/log.ts'
import { correctedClock, type CorrectedClock } from '../../src/storage/corrected-clock.ts'
import { virtualClock, type VirtualClock } from '../support/virtual-clock.ts'

type Machine = {
  /** Storage's time, which is the true one. */
  readonly world: VirtualClock
  readonly clock: CorrectedClock
  readonly lines: string[]
  set(behindMs: number): void
  /** Storage answers, as often as that, a tenth of a second apart. */
  answers(times: number): Promise<void>
}

/** A machine whose clock is behind storage's by that much. */
function machineBehind(offsetMs: number): Machine {
  const world = virtualClock()
  const lines: string[] = []
  let behindMs = offsetMs
  const machine: Clock = {
    now: () => world.now() - behindMs,
    sleepUntil: async (at, signal) => world.sleepUntil(at + behindMs, signal),
  }
  const log: Log = { event: (event, facts) => void lines.push(`${event} ${facts?.['correctionMs']}`) }
  const clock = correctedClock(machine, log)
  return {
    world,
    clock,
    lines,
    set: (newBehindMs) => {
      behindMs = newBehindMs
    },
    async answers(times) {
      for (let count = 0; count < times; count += 1) {
        await world.runUntil(world.now() + 109)
        const serverDate = Math.floor(world.now() / 1_000) * 1_000
        clock.heard({ sentAt: machine.now(), receivedAt: machine.now(), serverDate })
      }
    },
  }
}

const errorMs = ({ clock, world }: Machine): number => clock.now() - world.now()

test("the clock is the machine's own until storage says otherwise, and then storage's", async () => {
  const machine = machineBehind(7_000)
  expect(errorMs(machine)).toBe(-7_000)
  await machine.answers(1)
  expect(Math.abs(errorMs(machine))).toBeLessThanOrEqual(500)
  await machine.answers(50)
  expect(Math.abs(errorMs(machine))).toBeLessThanOrEqual(25)
})

test.each([0, 50, -400])(
  'a clock that is %d ms behind is left alone, and nothing is said',
  async (behindMs) => {
    const machine = machineBehind(behindMs)
    await machine.answers(100)
    expect(errorMs(machine) + behindMs).toBe(0)
    expect(machine.lines).toEqual([])
  },
)

test('a correction is told of when it begins, when it is another, and when it ends; better measurements are not', async () => {
  const machine = machineBehind(7_000)
  const told = async (): Promise<readonly string[]> => {
    await machine.answers(100)
    return machine.lines.splice(0)
  }
  const seconds = (line: string | undefined): number => Number(line?.split(' ')[1]) / 1_000

  const begun = await told()
  expect(begun).toHaveLength(1)
  expect(Math.abs(seconds(begun[0]) - 7)).toBeLessThanOrEqual(0.6)
  expect(await told()).toEqual([])

  machine.set(-4_000)
  const changed = await told()
  expect(changed).toHaveLength(1)
  expect(Math.abs(seconds(changed[0]) + 4)).toBeLessThanOrEqual(0.6)

  machine.set(0)
  expect(await told()).toEqual(['clock_corrected 0'])
  expect(errorMs(machine)).toBe(0)

  machine.set(7_000)
  expect(await told()).toEqual([expect.stringMatching(/^clock_corrected [67]\d{3}$/)])
})

test('a correction of less than a second is told of too', async () => {
  const machine = machineBehind(600)
  await machine.answers(100)
  machine.set(0)
  await machine.world.runUntil(machine.world.now() + 3_600_000)
  await machine.answers(100)
  expect(machine.lines).toEqual([expect.stringMatching(/^clock_corrected [1-9]/), 'clock_corrected 0'])
})

test('a sleeper wakes at its time by the corrected clock', async () => {
  for (const behindMs of [7_000, -4_000, 0]) {
    const machine = machineBehind(behindMs)
    await machine.answers(100)
    const at = machine.clock.now() + 5_000.125
    await machine.world.run(machine.clock.sleepUntil(at))
    expect(machine.clock.now()).toBeCloseTo(at, 3)
  }
})

test('a sleeper whose clock turns out to be ahead sleeps on', async () => {
  const machine = machineBehind(-4_000)
  const at = machine.world.now() + 10_000
  const sleep = machine.clock.sleepUntil(at)
  await machine.answers(50)
  await machine.world.run(sleep)
  expect(Math.abs(machine.world.now() - at)).toBeLessThanOrEqual(25)
})

test('a sleeper whose clock turns out to be behind wakes too late, by as much, and can see it', async () => {
  const machine = machineBehind(7_000)
  const at = machine.clock.now() + 10_000
  const sleep = machine.clock.sleepUntil(at)
  await machine.answers(50)
  await machine.world.run(sleep)
  expect(Math.abs(machine.clock.now() - at - 7_000)).toBeLessThanOrEqual(25)
})

test('a sleeper who is called wakes at once', async () => {
  const machine = machineBehind(7_000)
  await machine.answers(50)
  const calling = new AbortController()
  const sleep = machine.clock.sleepUntil(machine.clock.now() + 10_000, calling.signal)
  calling.abort()
  const before = machine.world.now()
  await machine.world.run(sleep)
  expect(machine.world.now()).toBe(before)
})

test('an answer during which the clock was set back says nothing', async () => {
  const machine = machineBehind(0)
  const now = machine.clock.now()
  machine.clock.heard({ sentAt: now, receivedAt: now - 60_000, serverDate: now })
  expect(machine.lines).toEqual([])
  expect(errorMs(machine)).toBe(0)
})
