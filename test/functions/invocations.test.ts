import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import functions from '@azure/functions'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest'
import { log } from '../../src/app.ts'
import { limits } from '../../src/core/limits.ts'
import { timing } from '../../src/core/timing.ts'
import { routes, route } from '../../src/functions/route.ts'
import { read, startLibrary, type Call, type Library } from './library.ts'

/** Far below the 242 s after which the host breaks off, and far above what a busy machine takes. */
const soonMs = 20_000

let library: Library
/** Of the body whose failure is looked at; each is another. */
let failAfter = 0

async function* failing() {
  for (let piece = 0; piece < failAfter; piece += 1) yield Buffer.from(`piece ${piece};`)
  await Promise.resolve()
  throw Object.assign(new Error('lost https://a.example/b?sig=secret on the way'), { code: 'EGONE' })
}

const named = { 'content-type': 'image/png', 'content-length': '4096', etag: '"a"' }

const replies: Record<string, () => object> = {
  'a header with a line in it': () => ({ status: 200, headers: { 'x-made': 'a\nb' } }),
  'a header that only node refuses': () => ({ status: 200, headers: { 'x-made': 'a\u0001b' } }),
  'a name that is none': () => ({ status: 200, headers: { 'x made': 'a' } }),
  'a status that is none': () => ({ status: 99, headers: {} }),
  'what is no JSON': () => ({ status: 201, headers: {}, jsonBody: { n: 1n } }),
  'a body that is none': () => ({ status: 200, headers: {}, body: Symbol('x') }),
}

beforeAll(async () => {
  vi.stubEnv('AzureWebJobsStorage', inject('azurite'))
  vi.stubEnv('AZURE_OPENAI_ENDPOINT', 'http://127.0.0.1:1')
  vi.stubEnv('AZURE_OPENAI_API_KEY', 'key')
  vi.stubEnv('IMAGE_RPM', '60')
  library = await startLibrary(async () => {
    await import('../../src/functions/index.ts')
    const add = (name: string, handle: () => Promise<any>): void =>
      route(name, { method: 'GET', path: `test/${name}`, isOpen: true }, handle)
    add('fine', async () => ({ status: 200, headers: {}, jsonBody: { is: 'fine' } }))
    add('throws', async () => {
      throw Object.assign(new TypeError('no such thing at https://a.example/b?sig=secret'))
    })
    add('fails', async () => ({ status: 200, headers: named, body: failing() }))
    for (const [index, make] of Object.values(replies).entries()) add(`reply-${index}`, async () => make())
    functions.app.http('bare', {
      route: 'test/bare',
      handler: () => {
        throw new Error('outside of all that answers')
      },
    })
  })
}, 60_000)

afterAll(async () => {
  await library.stop()
  vi.unstubAllEnvs()
})

let before = 0
beforeEach(() => {
  log.flush()
  before = library.lines.length
})

/** What the log said since the test began. */
const told = (): readonly string[] => library.lines.slice(before)

async function soon<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('it hangs')), soonMs)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** A reply in OpenAI's shape, under the id of the request. */
async function errorOf(call: Call): Promise<{ status: number | undefined; code: string; headers: any }> {
  const answer = await soon(call.response)
  const { text, isWhole } = await soon(read(answer))
  expect(isWhole).toBe(true)
  const { error } = JSON.parse(text)
  expect(error).toEqual({
    message: expect.any(String),
    type: expect.any(String),
    param: null,
    code: expect.any(String),
  })
  expect(answer.headers['content-type']).toBe('application/json')
  expect(answer.headers['x-request-id']).toBe(call.id)
  return { status: answer.statusCode, code: error.code, headers: answer.headers }
}

describe('headers', () => {
  test.each([1, 17, 31])('of %i KB get an answer', async (size) => {
    const call = library.call('fine', { headers: { 'x-big': 'x'.repeat(size * 1_024) } })
    const answer = await soon(call.response)
    expect([answer.statusCode, (await read(answer)).text]).toEqual([200, '{"is":"fine"}'])
    expect(await soon(call.invocation)).toBe(true)
  })

  test('may be twice as long as the host takes them, on this server and on no other', async () => {
    expect(library.server).toMatchObject({ maxHeaderSize: limits.headerBytesMax })
    const { createServer } = await import('node:http')
    const other = createServer()
    expect(other).toMatchObject({ requestTimeout: 300_000 })
    expect('maxHeaderSize' in other && other.maxHeaderSize).not.toBe(limits.headerBytesMax)
  })

  test('and a body may take as long as the longest is given', () => {
    expect(library.server.requestTimeout).toBeGreaterThan(timing.fileUploadMs)
  })
})

describe('a function that throws', () => {
  test('is answered at once, and its error stands in one line', async () => {
    const call = library.call('throws')
    expect(await errorOf(call)).toMatchObject({ status: 500, code: 'internal_error' })
    expect(await soon(call.invocation)).toBe(true)
    const lines = told().filter((line) => line.includes('TypeError'))
    expect(lines).toEqual([expect.stringMatching(/^\[error\] \{.*"event":"request_failed".*"at":"\S+"\}$/)])
    expect(told().join()).not.toMatch(/no such thing|a\.example/)
  })

  test.each([undefined, null, 7])('is answered as one that gives %s for a reply', async (given) => {
    const call = library.call('fine', {}, () => given)
    expect(await errorOf(call)).toMatchObject({ status: 500, code: 'internal_error' })
    expect(await soon(call.invocation)).toBe(true)
  })

  test('is answered also where it is none of ours', async () => {
    const call = library.call('bare')
    expect(await errorOf(call)).toMatchObject({ status: 500, code: 'internal_error' })
    expect(await soon(call.invocation)).toBe(true)
    expect(told().filter((line) => line.includes('"doing":"function"'))).toHaveLength(1)
    expect(told().join()).not.toContain('outside of all')
  })
})

describe('a reply that cannot be made is a 500', () => {
  test.each(Object.keys(replies).map((what, index) => [what, index]))('%s', async (_, index) => {
    const call = library.call(`reply-${index}`)
    expect(await errorOf(call)).toMatchObject({ status: 500, code: 'internal_error' })
    expect(await soon(call.invocation)).toBe(true)
    expect(told().filter((line) => line.startsWith('[error]')).length).toBeGreaterThan(0)
  })
})

describe('a body that fails', () => {
  test('behind its first piece breaks the connection at once', async () => {
    failAfter = 1
    const call = library.call('fails')
    const answer = await soon(call.response)
    expect(answer.statusCode).toBe(200)
    expect(await soon(read(answer))).toEqual({ text: 'piece 0;', isWhole: false, code: 'ECONNRESET' })
    expect(await soon(call.invocation)).toBe(true)
    expect(told()).toEqual([expect.stringContaining(`"request":"${call.id}"`)])
    expect(told()[0]).toContain('"doing":"answer","code":"EGONE"')
    expect(told()[0]).not.toContain('a.example')
  })

  test('before it is a 500 that says nothing of what it would have been', async () => {
    failAfter = 0
    const call = library.call('fails')
    const { status, headers } = await errorOf(call)
    expect([status, headers['etag'], headers['content-length']]).toEqual([500, undefined, undefined])
    expect(await soon(call.invocation)).toBe(true)
  })
})

describe('a request that the library cannot read', () => {
  test.each(['a b', 'user:word@127.0.0.1', '127.0.0.1, 127.0.0.2'])('for host %s is a 400', async (host) => {
    const call = library.call('fine', { path: '/secret', headers: { 'x-forwarded-host': host } })
    expect(await errorOf(call)).toMatchObject({ status: 400, code: 'invalid_request' })
    expect(await soon(call.invocation)).toBe(false)
    expect(told().join('\n')).not.toContain('secret')
  })
})

test('no response is held on to whose request could not be read', async () => {
  setFlagsFromString('--expose_gc')
  const collect: () => void = runInNewContext('gc')
  const seen: WeakRef<object>[] = []
  const see = (message: any): void => void seen.push(new WeakRef(message.response))
  subscribe('http.server.request.start', see)
  for (let count = 0; count < 20; count += 1) {
    await errorOf(library.call('fine', { headers: { 'x-forwarded-host': 'a b' } }))
  }
  unsubscribe('http.server.request.start', see)
  await vi.waitUntil(() => {
    collect()
    // The last ones may still be on their way out.
    return seen.filter((each) => each.deref() !== undefined).length < 5
  }, soonMs)
})

test('all that is registered is guarded, what takes the rest among it', async () => {
  const names = library.names.filter((name) => library.isHttp(name))
  expect(names).toEqual(expect.arrayContaining(routes.map(({ name }) => name)))
  expect(names.length).toBeGreaterThan(routes.length)
  for (const name of names) {
    const throwing = library.call(name, {}, () => {
      throw new Error('thrown')
    })
    expect([name, (await errorOf(throwing)).status]).toEqual([name, 500])
    failAfter = 1
    const broken = library.call(name, {}, () => ({ body: failing() }))
    expect([name, await soon(read(await soon(broken.response)))]).toMatchObject([name, { isWhole: false }])
    const unread = library.call(name, { headers: { 'x-forwarded-host': 'a b' } })
    expect([name, (await errorOf(unread)).status]).toEqual([name, 400])
    expect(await Promise.all([throwing.invocation, broken.invocation])).toEqual([true, true])
  }
})
