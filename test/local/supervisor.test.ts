import { expect, test, vi } from 'vitest'
import type { LocalHost } from '../../src/local/host/host.ts'
import { superviseHost } from '../../src/local/supervisor.ts'

/** A clock that stands until it is moved. */
function handClock() {
  let now = 0
  const sleepers = new Set<{ readonly at: number; readonly wake: () => void }>()
  return {
    now: () => now,
    async pause(ms: number, signal?: AbortSignal) {
      await new Promise<void>((resolve) => {
        const sleeper = { at: now + ms, wake: resolve }
        sleepers.add(sleeper)
        signal?.addEventListener('abort', () => resolve(), { once: true })
      })
    },
    /** Moves on, and lets all that was due happen. */
    async move(ms: number) {
      now += ms
      for (const sleeper of sleepers) {
        if (sleeper.at > now) continue
        sleepers.delete(sleeper)
        sleeper.wake()
      }
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => void setImmediate(resolve))
    },
  }
}

/** Hosts that end themselves when they are told to; `starts` are the times of their starts. */
function hosts() {
  const clock = handClock()
  const starts: { readonly at: number; readonly port: number }[] = []
  const stopped: string[] = []
  let end = (_why: string): void => {}
  let failures = 0
  const start = async (port: number): Promise<LocalHost> => {
    starts.push({ at: clock.now(), port })
    if (failures > 0) {
      failures -= 1
      throw new Error('storage is out of reach')
    }
    const { promise, resolve } = Promise.withResolvers<string>()
    end = resolve
    const number = starts.length
    return {
      url: `http://127.0.0.1:${port === 0 ? 7_071 : port}`,
      endedItself: promise,
      terminate: async () => ({ abandoned: stopped.push(`terminated ${number}`) }),
      stop: async ({ graceMs }) => ({ abandoned: stopped.push(`stopped ${number} in ${graceMs}`) }),
      measure: async () => ({ pid: number, rss: 0, heapUsed: 0 }),
    }
  }
  return {
    clock,
    starts,
    stopped,
    start,
    end: (why: string) => end(why),
    failNext: (count: number) => void (failures = count),
  }
}

test('a host that ended itself is started again at the same port, after waits that grow', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const world = hosts()
  const host = await superviseHost({ port: 0, start: world.start, clock: world.clock })
  world.failNext(3)
  world.end('storage is out of reach')
  await world.clock.move(0)
  for (const waitMs of [1_000, 2_000, 4_000, 8_000]) {
    const { length } = world.starts
    await world.clock.move(waitMs - 1)
    expect(world.starts).toHaveLength(length)
    await world.clock.move(1)
    expect(world.starts).toHaveLength(length + 1)
  }
  expect(world.starts.map(({ port }) => port)).toEqual([0, 7_071, 7_071, 7_071, 7_071])
  expect(vi.mocked(console.error).mock.calls.flat()[0]).toBe(
    'darkroom: storage is out of reach; the host is started again in 1 s',
  )
  await host.stop({ graceMs: 5 })
  expect(world.stopped).toEqual(['stopped 5 in 5'])
})

test('a host that ran for a while is started again soon', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const world = hosts()
  const host = await superviseHost({ port: 0, start: world.start, clock: world.clock })
  for (let starts = 1; starts < 4; starts += 1) {
    world.end('away')
    await world.clock.move(0)
    await world.clock.move(10_000)
    expect(world.starts).toHaveLength(starts + 1)
  }
  await world.clock.move(120_000)
  world.end('away')
  await world.clock.move(0)
  await world.clock.move(1_000)
  expect(world.starts).toHaveLength(5)
  expect(
    vi
      .mocked(console.error)
      .mock.calls.flat()
      .map((line) => /in (\d+) s/.exec(String(line))?.[1]),
  ).toEqual(['1', '2', '4', '1'])
  await host.terminate()
  expect(world.stopped).toEqual(['terminated 5'])
})

test('a stop while a host waits to be started again starts nothing more', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const world = hosts()
  const host = await superviseHost({ port: 7_072, start: world.start, clock: world.clock })
  world.failNext(100)
  world.end('away')
  await world.clock.move(0)
  await world.clock.move(1_000)
  await host.terminate()
  const { length } = world.starts
  await world.clock.move(100_000)
  expect(world.starts).toHaveLength(length)
})

test('a first start that fails is the caller’s to hear', async () => {
  const world = hosts()
  world.failNext(1)
  await expect(superviseHost({ port: 0, start: world.start })).rejects.toThrow('storage is out of reach')
})
