import { expect, test, vi } from 'vitest'
import { hostClock } from '../../src/local/host/clock.ts'
import type { LocalHost } from '../../src/local/host/host.ts'
import { superviseHost } from '../../src/local/supervisor.ts'

/** Hosts that end themselves when they are told to; `starts` are the times of their starts, by a clock of a thousand a second. */
function hosts() {
  const clock = hostClock(1_000)
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
  await vi.waitUntil(() => world.starts.length === 5)
  const [first, ...again] = world.starts
  expect(first?.port).toBe(0)
  expect(again.map(({ port }) => port)).toEqual([7_071, 7_071, 7_071, 7_071])
  const waits = again.slice(1).map(({ at }, index) => at - again[index]!.at)
  expect(waits[0]).toBeGreaterThanOrEqual(2_000)
  expect(waits[1]).toBeGreaterThanOrEqual(4_000)
  expect(waits[2]).toBeGreaterThanOrEqual(8_000)
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
    await vi.waitUntil(() => world.starts.length === starts + 1)
  }
  await world.clock.pause(120_000)
  world.end('away')
  await vi.waitUntil(() => world.starts.length === 5)
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
  await vi.waitUntil(() => world.starts.length >= 4)
  await host.terminate()
  const { length } = world.starts
  await world.clock.pause(100_000)
  expect(world.starts).toHaveLength(length)
})

test('a first start that fails is the caller’s to hear', async () => {
  const world = hosts()
  world.failNext(1)
  await expect(superviseHost({ port: 0, start: world.start })).rejects.toThrow('storage is out of reach')
})
