import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest'
import { log } from '../../src/app.ts'
import { timing } from '../../src/core/timing.ts'
import { exchangeOf } from '../../src/functions/exchange.ts'
import { route } from '../../src/functions/route.ts'
import type { Call as Asking, Reply } from '../../src/http/reply.ts'
import { read, startLibrary, type Library } from './library.ts'

let library: Library
/** What the function under test does. */
let handle: (call: Asking) => Promise<Reply>

beforeEach(() => log.flush())

beforeAll(async () => {
  // Looks come when the test says so; sockets and all else have their own time.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  vi.stubEnv('AzureWebJobsStorage', inject('azurite'))
  vi.stubEnv('AZURE_OPENAI_ENDPOINT', 'http://127.0.0.1:1')
  vi.stubEnv('AZURE_OPENAI_API_KEY', 'key')
  vi.stubEnv('IMAGE_RPM', '60')
  vi.stubEnv('CORS_ORIGINS', 'https://studio.example.com')
  library = await startLibrary(async () => {
    await import('../../src/functions/index.ts')
    for (const method of ['GET', 'POST'] as const) {
      route(`test-${method}`, { method, path: 'test' }, async (call) => handle(call))
    }
  })
  // The room is open, so that no request waits for it.
  handle = async () => ({ status: 200, headers: {} })
  const answer = await library.call('test-GET').response
  answer.resume()
}, 60_000)

afterAll(async () => {
  await library.stop()
  vi.unstubAllEnvs()
  vi.useRealTimers()
})

afterEach(() => {
  // All is forgotten that was looked at: the timer is gone.
  expect(vi.getTimerCount()).toBe(0)
})

async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += timing.quietLookMs) {
    for (let turn = 0; turn < 50; turn += 1) await setImmediate()
    await vi.advanceTimersByTimeAsync(timing.quietLookMs)
  }
  for (let turn = 0; turn < 50; turn += 1) await setImmediate()
}

/** Until it has happened; a bound that no busy machine meets. */
async function until(what: () => boolean): Promise<void> {
  await vi.waitUntil(what, { timeout: 20_000, interval: 5 })
}

function settled(promise: Promise<unknown>): { readonly isSettled: boolean } {
  const state = { isSettled: false }
  const set = (): void => void (state.isSettled = true)
  promise.then(set, set)
  return state
}

/** The last moment at which nothing is ended yet, and the first at which it surely is. */
const stillMs = timing.quietMs - timing.quietLookMs
const surelyMs = 3 * timing.quietLookMs

const never = new Promise<never>(() => {})

describe('a function that waits for what never comes', () => {
  test.each([
    ['GET', {}, undefined],
    ['POST', {}, 'false'],
    ['POST', { 'idempotency-key': 'a' }, undefined],
  ] as const)('%s %j is answered, and returns', async (method, headers, shouldRetry) => {
    let gone: AbortSignal | undefined
    handle = async (call) => {
      gone = call.gone
      return never
    }
    const asked = { method, headers: { ...headers, origin: 'https://studio.example.com' } }
    const call = library.call(`test-${method}`, asked)
    await until(() => gone !== undefined)
    const returned = settled(call.invocation)
    await pass(stillMs)
    expect([returned.isSettled, gone?.aborted]).toEqual([false, false])
    await pass(surelyMs)
    const answer = await call.response
    expect(answer).toMatchObject({
      statusCode: 504,
      headers: { 'x-request-id': call.id, 'access-control-allow-origin': 'https://studio.example.com' },
    })
    expect(answer.headers['x-should-retry']).toBe(shouldRetry)
    expect(JSON.parse((await read(answer)).text)).toMatchObject({
      error: { type: 'server_error', code: 'no_progress', param: null },
    })
    expect(await call.invocation).toBe(true)
    expect(gone?.aborted).toBe(true)
    expectLast(call.id, '"status":504,"code":"no_progress"')
  })

  test('is answered also where it is none of ours', async () => {
    let isAsked = false
    const call = library.call('test-POST', { method: 'POST' }, () => {
      isAsked = true
      return never
    })
    await until(() => isAsked)
    await pass(timing.quietMs + surelyMs)
    expect(await call.response).toMatchObject({ statusCode: 504, headers: { 'x-should-retry': 'false' } })
    expect(await call.invocation).toBe(true)
    expectLast(call.id, '"doing":"function","code":"nothing_moved","afterMs":225000')
  })

  test('returns also when its client has left', async () => {
    let gone: AbortSignal | undefined
    handle = async (call) => {
      gone = call.gone
      return never
    }
    const call = library.call('test-GET')
    await until(() => gone !== undefined)
    call.leave()
    await until(() => gone?.aborted === true)
    const returned = settled(call.invocation)
    await pass(stillMs)
    expect(returned.isSettled).toBe(false)
    await pass(surelyMs)
    expect(await call.invocation).toBe(true)
  })

  test('is given the whole time again when it has answered', async () => {
    let go = (): void => {}
    const wait = new Promise<void>((resolve) => (go = resolve))
    async function* body() {
      await never
      yield Buffer.from('')
    }
    let isAsked = false
    handle = async () => {
      isAsked = true
      await wait
      return { status: 200, headers: {}, body: body() }
    }
    const call = library.call('test-GET')
    const returned = settled(call.invocation)
    await until(() => isAsked)
    await pass(stillMs)
    go()
    await pass(stillMs)
    expect(returned.isSettled).toBe(false)
    await pass(surelyMs)
    expect(await call.response).toMatchObject({ statusCode: 504 })
    expect(await call.invocation).toBe(true)
  })
})

describe('a body', () => {
  test('of which nothing comes any more is broken off, and what makes it is told', async () => {
    let isTold = false
    let pieces = 0
    const iterator = {
      next: async () => ((pieces += 1) === 1 ? { done: false, value: Buffer.from('a piece') } : never),
      return: async () => {
        isTold = true
        return { done: true as const, value: undefined }
      },
    }
    handle = async () => ({ status: 200, headers: {}, body: { [Symbol.asyncIterator]: () => iterator } })
    const call = library.call('test-GET')
    const answer = await call.response
    const reading = read(answer)
    const returned = settled(call.invocation)
    await pass(stillMs)
    expect([returned.isSettled, answer.destroyed]).toEqual([false, false])
    await pass(surelyMs)
    expect(await reading).toEqual({ text: 'a piece', isWhole: false, code: 'ECONNRESET' })
    expect(await call.invocation).toBe(true)
    expect(isTold).toBe(true)
    expectLast(call.id, '"doing":"answer","code":"nothing_moved"')
  })

  test('that says something now and then goes on, as events do', async () => {
    let say = (): void => {}
    const talk = { isOver: false }
    async function* body() {
      while (!talk.isOver) {
        yield Buffer.from(': alive\n\n')
        await new Promise<void>((resolve) => (say = resolve))
      }
    }
    handle = async () => ({ status: 200, headers: {}, body: body() })
    const call = library.call('test-GET')
    const reading = call.response.then(read)
    for (let aliveMs = 0; aliveMs < 4 * timing.quietMs; aliveMs += timing.keepAliveMs) {
      await pass(timing.keepAliveMs)
      say()
    }
    talk.isOver = true
    say()
    const { text, isWhole } = await reading
    expect([isWhole, text.length]).toEqual([true, 9 * ((4 * timing.quietMs) / timing.keepAliveMs)])
    expect(await call.invocation).toBe(true)
  })

  test('that is not taken is broken off, though its function is over', async () => {
    handle = async () => ({ status: 200, headers: {}, body: Buffer.alloc(64 * 1024 * 1024) })
    const call = library.call('test-GET')
    const answer = await call.response
    answer.pause()
    expect(await call.invocation).toBe(true)
    await pass(stillMs)
    expect(answer.destroyed).toBe(false)
    await pass(surelyMs)
    expect(await read(answer)).toMatchObject({ isWhole: false, code: 'ECONNRESET' })
  })

  test('whose client leaves ends without a word', async () => {
    let isEnded = false
    async function* body() {
      try {
        for (;;) {
          yield Buffer.alloc(100_000)
          await setImmediate()
        }
      } finally {
        isEnded = true
      }
    }
    handle = async () => ({ status: 200, headers: {}, body: body() })
    const call = library.call('test-GET')
    const answer = await call.response
    answer.on('error', () => {})
    const before = library.lines.length
    call.leave()
    await until(() => isEnded)
    expect(await call.invocation).toBe(true)
    expect(library.lines.slice(before)).toEqual([])
  })
})

test('a body that comes slowly is waited for', async () => {
  let come = (): void => {}
  const talk = { isOver: false }
  async function* body() {
    while (!talk.isOver) {
      yield Buffer.from('a')
      await new Promise<void>((resolve) => (come = resolve))
    }
  }
  handle = async ({ request }) => ({ status: 200, headers: {}, body: await request.text() })
  const call = library.call('test-POST', { method: 'POST', body: body() })
  const pieces = (4 * timing.quietMs) / 60_000
  for (let piece = 0; piece < pieces; piece += 1) {
    await pass(60_000)
    come()
  }
  talk.isOver = true
  come()
  expect(await read(await call.response)).toMatchObject({ text: 'a'.repeat(pieces), isWhole: true })
})

describe('a request that never comes to its function', () => {
  test('because node refuses it ends its invocation all the same', async () => {
    const call = library.call('test-GET', { headers: { 'x-big': 'x'.repeat(70 * 1024) } })
    expect(await call.response).toMatchObject({ statusCode: 431 })
    const returned = settled(call.invocation)
    await pass(stillMs)
    expect(returned.isSettled).toBe(false)
    await pass(surelyMs)
    expect(await call.invocation).toBe(false)
    expect(library.lines.at(-1)).toContain(`request ${call.id} did not come`)
  })

  test('because it names another invocation is answered, and ends its invocation', async () => {
    const call = library.call('test-GET', { claimedId: 'mine' })
    await until(() => exchangeOf('mine')?.response !== undefined)
    const first = exchangeOf('mine')
    const other = library.call('test-GET', { claimedId: 'mine' })
    await until(() => exchangeOf('mine') !== first)
    await pass(timing.quietMs + surelyMs)
    for (const each of [call, other]) {
      expect(await each.response).toMatchObject({ statusCode: 504 })
      expect(await each.invocation).toBe(false)
    }
  })
})

test('looking keeps no process alive', async () => {
  const script = `const { beginExchange } = await import('./src/functions/exchange.ts'); beginExchange('a')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: join(import.meta.dirname, '../..'),
    stdio: 'inherit',
  })
  try {
    expect(await once(child, 'exit', { signal: AbortSignal.timeout(30_000) })).toEqual([0, null])
  } finally {
    child.kill()
  }
})

/** The newest line is of this request, and says this. */
function expectLast(id: string, told: string): void {
  expect(library.lines.at(-1)).toContain(`"request":"${id}"`)
  expect(library.lines.at(-1)).toContain(told)
}
