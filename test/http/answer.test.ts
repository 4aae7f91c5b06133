import { createHash } from 'node:crypto'
import functions from '@azure/functions'
import { beforeEach, describe, expect, test } from 'vitest'
import type { AccessPolicy } from '../../src/http/access.ts'
import { answer, answerOthers } from '../../src/http/answer.ts'
import { reply, type Call, type Reply } from '../../src/http/reply.ts'
import type { LogFacts } from '../../src/core/log-event.ts'
import type { Route } from '../../src/http/routes.ts'
import type { Log } from '../../src/ports/log.ts'
import { SettingsError } from '../../src/settings.ts'
import { newWorld, contextIn } from '../support/context.ts'

const context = contextIn(newWorld())
const key = {
  name: 'studio',
  sha256: createHash('sha256').update('dk_studio').digest('hex'),
  weight: 1,
  isReadOnly: false,
  isAdmin: false,
}
let policy: AccessPolicy
let lines: LogFacts[]

beforeEach(() => {
  lines = []
  policy = { keys: [], azureSigns: null, corsOrigins: [], now: () => 0, log: { event() {} } }
})

const request = 'request-1'

type Asked = {
  method?: string
  url?: string
  headers?: Record<string, string>
  params?: Record<string, string>
}

function incoming({ method = 'GET', url = 'http://127.0.0.1/v1/things', headers = {}, params = {} }: Asked) {
  return {
    request: new functions.HttpRequest({ method, url, headers, params }),
    id: 'request-1',
    log: { event: (event, facts) => void lines.push({ event, ...facts }) } satisfies Log,
  }
}

function routeOf(handle: (call: Call) => Promise<Reply>, more: Partial<Route> = {}): Route {
  return { name: 'things', method: 'GET', path: 'v1/things', isOpen: false, handle, ...more }
}

const service = { policy: () => policy, context: async () => context }
const things = routeOf(async () => reply(200, { object: 'list', data: [1] }))
const routes = [things, { ...things, method: 'POST' as const }, { ...things, path: 'v1/things/{id}' }]

describe('every reply', () => {
  test('carries the request’s id, and a failed one stands under it in the log', async () => {
    const ok = await answer(service, things, incoming({}))
    expect(ok.headers).toMatchObject({ 'x-request-id': 'request-1', 'openai-processing-ms': '0' })
    expect(lines).toEqual([])
    policy = { ...policy, keys: [key] }
    const refused = await answer(service, things, incoming({ headers: { 'api-key': 'dk_wrong' } }))
    expect(refused).toMatchObject({
      status: 401,
      headers: { 'x-request-id': 'request-1' },
      jsonBody: { error: { type: 'invalid_request_error', code: 'invalid_api_key', param: null } },
    })
    expect(lines).toEqual([
      { event: 'request_refused', request, route: 'GET v1/things', status: 401, code: 'invalid_api_key' },
    ])
  })

  test('is one also where the service fails, or is not set up', async () => {
    const failing = routeOf(async () => {
      throw new Error('storage is away')
    })
    const failed = await answer(service, failing, incoming({}))
    expect(failed).toMatchObject({ status: 500, headers: { 'x-request-id': 'request-1' } })
    expect(JSON.stringify(failed)).not.toContain('storage is away')
    expect(lines).toEqual([
      {
        event: 'request_failed',
        request,
        route: 'GET v1/things',
        status: 500,
        code: 'Error',
        at: 'Object.handle',
      },
    ])
    // Done or not: a client that sends it again by itself might pay for it twice.
    const post = { ...failing, method: 'POST' as const }
    const retryOf = async (headers = {}): Promise<unknown> =>
      (await answer(service, post, incoming({ method: 'POST', headers }))).headers['x-should-retry']
    expect([failed.headers['x-should-retry'], await retryOf()]).toEqual([undefined, 'false'])
    expect(await retryOf({ 'idempotency-key': 'order-17' })).toBeUndefined()
    const harmless = await answer(service, { ...post, isRepeatable: true }, incoming({ method: 'POST' }))
    expect([harmless.status, harmless.headers['x-should-retry']]).toEqual([500, undefined])
    const unset = {
      ...service,
      policy: () => {
        throw new SettingsError('no storage')
      },
    }
    expect(await answer(unset, things, incoming({}))).toMatchObject({ status: 503 })
  })

  test('tells no more of an error than its codes, and where it comes from', async () => {
    const address = 'https://a.example/b.png?se=2026&sig=abc%3D'
    const throwing = [
      Object.assign(new Error(`reset at ${address}\nby ${'x'.repeat(900)}`), { code: 'ECONNRESET' }),
      Object.assign(new TypeError('refused'), { statusCode: 403, code: 'AuthenticationFailed' }),
      new SyntaxError('Unexpected token in "a prompt"'),
      'a prompt',
    ]
    for (const each of throwing) {
      await answer(
        service,
        routeOf(async () => raise(each)),
        incoming({}),
      )
    }
    const told = lines.map(({ code }) => code)
    expect(told).toEqual(['ECONNRESET', '403 AuthenticationFailed', 'SyntaxError', 'no_error'])
    expect(JSON.stringify(lines)).not.toMatch(/sig=|a prompt|a\.example/)
  })

  test('comes without storage where nobody may come in', async () => {
    policy = { ...policy, keys: [key] }
    const closed = { ...service, context: () => Promise.reject(new Error('no room was wanted')) }
    expect(await answer(closed, things, incoming({}))).toMatchObject({ status: 401 })
  })
})

function raise(error: unknown): never {
  throw error
}

describe('storage that does not open', () => {
  const post = routeOf(async () => reply(200, {}), { method: 'POST' })

  test('is a 503 that may be sent again, for nothing was begun', async () => {
    const away = {
      ...service,
      context: () => Promise.reject(Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })),
    }
    const refused = await answer(away, post, incoming({ method: 'POST' }))
    expect(refused).toMatchObject({ status: 503, jsonBody: { error: { code: 'storage_unavailable' } } })
    expect(refused.headers).toMatchObject({ 'retry-after': '10' })
    expect(refused.headers).not.toHaveProperty('x-should-retry')
    expect(lines).toEqual([
      expect.objectContaining({ event: 'storage_failed', doing: 'open', request, code: 'ECONNREFUSED' }),
      {
        event: 'request_failed',
        request,
        route: 'POST v1/things',
        status: 503,
        code: 'storage_unavailable',
      },
    ])
  })

  test('is told from what waiting does not mend', async () => {
    const denied = Object.assign(new Error('no role'), {
      statusCode: 403,
      code: 'AuthorizationPermissionMismatch',
    })
    for (const fault of [denied, new TypeError('a fault of ours')]) {
      const refused = await answer(
        { ...service, context: () => Promise.reject(fault) },
        post,
        incoming({ method: 'POST' }),
      )
      expect(refused).toMatchObject({ status: 500, jsonBody: { error: { code: 'internal_error' } } })
    }
  })

  test('tells of settings as it does elsewhere', async () => {
    const unset = { ...service, context: () => Promise.reject(new SettingsError('no storage')) }
    expect(await answer(unset, post, incoming({ method: 'POST' }))).toMatchObject({
      status: 503,
      jsonBody: { error: { code: 'not_configured' } },
    })
  })
})

describe('a request that is given up', () => {
  test.each([
    ['POST', {}, 'false'],
    ['POST', { 'idempotency-key': 'a' }, undefined],
    ['GET', {}, undefined],
  ] as const)(
    '%s %j is answered while its work goes on, and what that comes to is nobody’s',
    async (method, headers, again) => {
      const quiet = new AbortController()
      const work = Promise.withResolvers<Reply>()
      const route = routeOf(async () => work.promise, { method })
      const answered = answer(service, route, { ...incoming({ method, headers }), quiet: quiet.signal })
      quiet.abort()
      const given = await answered
      expect(given).toMatchObject({ status: 504, jsonBody: { error: { code: 'no_progress' } } })
      expect(given.headers['x-should-retry']).toBe(again)
      expect(lines).toEqual([
        {
          event: 'request_failed',
          request,
          route: `${method} v1/things`,
          status: 504,
          code: 'no_progress',
        },
      ])
      work.reject(new Error('too late'))
      await new Promise((resolve) => void setTimeout(resolve, 0))
      expect(lines).toHaveLength(1)
    },
  )
})

describe('a poll', () => {
  test('answers 304 to who has seen it', async () => {
    const first = await answer(service, things, incoming({}))
    expect(first).toMatchObject({ status: 200, body: '{"object":"list","data":[1]}' })
    const { etag = '' } = first.headers
    expect(etag).toMatch(/^"[\w-]{27}"$/)
    for (const seen of [etag, `"x", ${etag}`, `W/${etag}`, '*']) {
      const again = await answer(service, things, incoming({ headers: { 'if-none-match': seen } }))
      expect(again).toMatchObject({ status: 304, headers: { etag } })
      expect([again.body, again.jsonBody]).toEqual([undefined, undefined])
    }
    const other = routeOf(async () => reply(200, { object: 'list', data: [2] }))
    const changed = await answer(service, other, incoming({ headers: { 'if-none-match': etag } }))
    expect(changed.status).toBe(200)
    expect(changed.headers['etag']).not.toBe(etag)
  })

  test('by HEAD has no body, and ends a stream that nobody reads', async () => {
    const asked = await answer(service, things, incoming({ method: 'HEAD' }))
    expect([asked.status, asked.body, asked.jsonBody]).toEqual([200, undefined, undefined])
    expect(asked.headers).toHaveProperty('etag')
    let isEnded = false
    const body = {
      [Symbol.asyncIterator]: () => ({
        next: async () => ({ done: false as const, value: new Uint8Array(1) }),
        return: async () => {
          isEnded = true
          return { done: true as const, value: undefined }
        },
      }),
    }
    await answer(
      service,
      routeOf(async () => ({ status: 200, headers: {}, body })),
      incoming({ method: 'HEAD' }),
    )
    expect(isEnded).toBe(true)
  })
})

test('long addresses and long parts of them are refused', async () => {
  const long = `http://127.0.0.1/v1/things?after=${'x'.repeat(9_000)}`
  expect(await answer(service, things, incoming({ url: long }))).toMatchObject({
    status: 414,
    jsonBody: { error: { code: 'uri_too_long' } },
  })
  expect(await answer(service, things, incoming({ params: { id: 'x'.repeat(600) } }))).toMatchObject({
    status: 404,
  })
  expect(await answerOthers(service, routes, incoming({ url: long }))).toMatchObject({ status: 414 })
})

describe('what no route takes', () => {
  const others = async (asked: Asked) => answerOthers(service, routes, incoming(asked))

  test('is 404 where there is no such path', async () => {
    for (const path of ['/v1/thing', '/v1/things/a/b', '/', '/v1']) {
      expect(await others({ url: `http://127.0.0.1${path}`, method: 'POST' })).toMatchObject({
        status: 404,
        jsonBody: { error: { code: 'not_found' } },
      })
    }
  })

  test.each([
    ['DELETE', '/v1/things', 'GET, HEAD, POST, OPTIONS'],
    ['PUT', '/V1/Things/', 'GET, HEAD, POST, OPTIONS'],
    ['POST', '/v1/things/x%2Fy', 'GET, HEAD, OPTIONS'],
  ])('is 405 for %s %s, with what is allowed', async (method, path, allow) => {
    expect(await others({ url: `http://127.0.0.1${path}`, method })).toMatchObject({
      status: 405,
      headers: { allow },
      jsonBody: { error: { code: 'method_not_allowed' } },
    })
    expect(await others({ url: `http://127.0.0.1${path}`, method: 'OPTIONS' })).toMatchObject({
      status: 204,
      headers: { allow },
    })
  })

  test('is not told to who has no key', async () => {
    policy = { ...policy, keys: [key] }
    expect(await others({ method: 'DELETE' })).toMatchObject({ status: 401 })
    expect(await others({ url: 'http://127.0.0.1/v1/thing' })).toMatchObject({ status: 401 })
  })
})

describe('a web page', () => {
  const origin = 'https://studio.example.com'
  const preflight = {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization, x-stainless-os,bad name',
    },
  }

  test('is told nothing unless CORS_ORIGINS is set', async () => {
    const asked = await answerOthers(service, routes, incoming(preflight))
    expect(asked.status).toBe(204)
    expect(Object.keys(asked.headers).filter((name) => /access-control|vary/.test(name))).toEqual([])
  })

  test('that is allowed may read, and may send keys; without credentials', async () => {
    policy = { ...policy, keys: [key], corsOrigins: [origin] }
    expect((await answerOthers(service, routes, incoming(preflight))).headers).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-allow-methods': 'GET, HEAD, POST, OPTIONS',
      'access-control-allow-headers': 'authorization, x-stainless-os',
      vary: 'Origin, Access-Control-Request-Headers',
    })
    const refused = await answer(service, things, incoming({ headers: { origin } }))
    expect(refused).toMatchObject({
      status: 401,
      headers: { 'access-control-allow-origin': origin, vary: 'Origin' },
    })
    expect(refused.headers).not.toHaveProperty('access-control-allow-credentials')
    const other = await answer(service, things, incoming({ headers: { origin: 'https://evil.example' } }))
    expect(other.headers['access-control-allow-origin']).toBeUndefined()
    expect(other.headers['vary']).toBe('Origin')
  })

  test('may be any, where that is wanted', async () => {
    policy = { ...policy, keys: [key], corsOrigins: ['*'] }
    const { headers } = await answer(
      service,
      things,
      incoming({ headers: { 'api-key': 'dk_studio', origin } }),
    )
    expect(headers).toMatchObject({ 'access-control-allow-origin': '*', etag: expect.any(String) })
  })
})
