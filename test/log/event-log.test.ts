import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { timing } from '../../src/core/timing.ts'
import { eventLog } from '../../src/log/event-log.ts'
import { withInvocationLog, writeLine } from '../../src/log/invocation.ts'

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
})

function newLog() {
  const lines: any[] = []
  const log = eventLog({
    write: (level, line) => void lines.push({ at: level, ...JSON.parse(line) }),
    now: Date.now,
  })
  return { log, lines }
}

describe('events like one another', () => {
  test('a hundred of them are one line at once, and one with their count', () => {
    const { log, lines } = newLog()
    for (let number = 1; number <= 100; number += 1) {
      log.event('storage_failed', { doing: 'events', code: '503', batch: `b${number}` })
    }
    expect(lines).toEqual([expect.objectContaining({ at: 'warn', event: 'storage_failed', batch: 'b1' })])
    vi.advanceTimersByTime(timing.likeEventsMs)
    expect(lines.slice(1)).toEqual([expect.objectContaining({ batch: 'b100', count: 99 })])
    vi.advanceTimersByTime(timing.likeEventsMs)
    expect(lines).toHaveLength(2)
    log.event('storage_failed', { code: '503' })
    expect(lines).toHaveLength(3)
  })

  test('without end are a line for each hundred', () => {
    const { log, lines } = newLog()
    for (let number = 0; number < 1_000; number += 1) log.event('request_failed', { code: 'x' })
    expect(lines.length).toBe(1 + Math.floor(999 / limits.likeEventsMax))
  })

  test('differ by their codes, not by whom they happened to; those that sums are made of are all written', () => {
    const { log, lines } = newLog()
    for (const code of ['a', 'b', 'a', 'b'])
      log.event('request_refused', { code, request: `${lines.length}` })
    expect(lines.map(({ code }) => code)).toEqual(['a', 'b'])
    for (let number = 0; number < 5; number += 1) log.event('run', { code: null })
    expect(lines).toHaveLength(7)
  })

  test('keep the ids of requests, for whoever was told one', () => {
    const { log, lines } = newLog()
    for (const request of ['a', 'b', 'c']) log.event('request_failed', { code: 'x', request })
    log.flush()
    expect(lines[1]).toMatchObject({ count: 2, requests: 'b c' })
  })

  test('that were counted are told when the instance ends', () => {
    const { log, lines } = newLog()
    for (let number = 0; number < 3; number += 1) log.event('lease_not_renewed', { code: 'x' })
    log.flush()
    expect(lines.map(({ count }) => count)).toEqual([undefined, 2])
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('a line', () => {
  test('goes through the invocation in which it was written, and through the console after its end', async () => {
    const lines: string[] = []
    const invocation = (name: string) => ({
      info: (line: string) => void lines.push(`${name} ${line}`),
      warn: () => expect.unreachable(),
      error: () => expect.unreachable(),
    })
    const printed = vi.spyOn(console, 'info').mockImplementation(() => {})
    const late = Promise.withResolvers<void>()
    let afterwards: Promise<void> = Promise.resolve()
    await Promise.all([
      withInvocationLog(invocation('one'), async () => {
        await Promise.resolve()
        writeLine('info', 'a')
        afterwards = late.promise.then(() => writeLine('info', 'c'))
      }),
      withInvocationLog(invocation('two'), async () => writeLine('info', 'b')),
    ])
    late.resolve()
    await afterwards
    writeLine('info', 'd')
    expect(lines.sort()).toEqual(['one a', 'two b'])
    expect(printed.mock.calls).toEqual([['c'], ['d']])
    printed.mockRestore()
  })
})
