import { createHash } from 'node:crypto'
import { describe, expect, test, vi } from 'vitest'
import { localCaller } from '../../src/core/caller.ts'
import { eventLog } from '../../src/log/event-log.ts'
import { admit, type Admission, type AccessPolicy } from '../../src/http/access.ts'

const key = (name: string, more: object = {}) => ({
  name,
  sha256: createHash('sha256').update(`dk_${name}`).digest('hex'),
  weight: 1,
  isReadOnly: false,
  isAdmin: false,
  ...more,
})

const keys = [key('studio'), key('wall', { isReadOnly: true }), key('ops', { isAdmin: true })]

function policyWith(more: Partial<AccessPolicy>): AccessPolicy & { readonly warnings: string[] } {
  const warnings: string[] = []
  return {
    keys,
    azureSigns: 'WEBSITE_SITE_NAME and WEBSITE_POD_NAME',
    corsOrigins: [],
    now: () => 0,
    log: eventLog({ write: (_, line) => void warnings.push(line), now: () => 0 }),
    warnings,
    ...more,
  }
}

function ask(
  policy: AccessPolicy,
  headers: Record<string, string> = {},
  { method = 'GET', url = 'https://studio.example.com/v1/budget', isOpen = false } = {},
): Admission {
  return admit(policy, { method, url, headers: new Headers(headers) }, isOpen)
}

function outcome(admission: Admission): unknown {
  return admission.kind === 'caller' ? admission.caller : [admission.error.status, admission.error.code]
}

describe('with keys', () => {
  const policy = policyWith({})

  test.each([
    { authorization: 'Bearer dk_studio' },
    { authorization: 'bearer  dk_studio ' },
    { 'api-key': 'dk_studio' },
    { 'x-functions-key': 'dk_studio' },
    { authorization: 'Basic abc', 'api-key': 'dk_studio' },
  ])('one is taken from %j', (headers) => {
    expect(outcome(ask(policy, headers))).toEqual({ key: 'studio', isAdmin: false, isReadOnly: false })
  })

  test.each([
    {},
    { authorization: 'dk_studio' },
    { authorization: 'Bearer' },
    { authorization: 'Bearer dk_studi' },
    { authorization: 'Bearer dk_studio2' },
    { authorization: 'Bearer wrong', 'api-key': 'dk_studio' },
    { 'api-key': '' },
    { authorization: `Bearer ${keys[0]!.sha256}` },
  ])('none is taken from %j', (headers) => {
    const refused = ask(policy, headers)
    expect(outcome(refused)).toEqual([401, 'invalid_api_key'])
    expect(JSON.stringify(refused)).not.toContain('dk_')
  })

  test('an admin is one', () => {
    expect(outcome(ask(policy, { 'api-key': 'dk_ops' }))).toEqual({
      key: 'ops',
      isAdmin: true,
      isReadOnly: false,
    })
  })

  test('one that may only read may only read', () => {
    const wall = { 'api-key': 'dk_wall' }
    const caller = { key: 'wall', isAdmin: false, isReadOnly: true }
    for (const method of ['GET', 'HEAD']) expect(outcome(ask(policy, wall, { method }))).toEqual(caller)
    for (const method of ['POST', 'PATCH', 'DELETE', 'PUT']) {
      expect(outcome(ask(policy, wall, { method }))).toEqual([403, 'permission_denied'])
    }
  })

  test('one that may only read, of all there is, is an admin as well', () => {
    const all = policyWith({ keys: [key('wall', { isReadOnly: true, isAdmin: true })] })
    const caller = { key: 'wall', isAdmin: true, isReadOnly: true }
    expect(outcome(ask(all, { 'api-key': 'dk_wall' }))).toEqual(caller)
    const post = ask(all, { 'api-key': 'dk_wall' }, { method: 'POST' })
    expect(outcome(post)).toEqual([403, 'permission_denied'])
  })

  test('an open route wants none, and gives no rights', () => {
    const nobody = { key: null, isAdmin: false, isReadOnly: true }
    expect(outcome(ask(policy, {}, { isOpen: true }))).toEqual(nobody)
    expect(outcome(ask(policy, { 'api-key': 'wrong' }, { isOpen: true }))).toEqual(nobody)
  })

  test('they are wanted on this machine as well', () => {
    const here = policyWith({ azureSigns: null })
    expect(outcome(ask(here, {}, { url: 'http://127.0.0.1:7071/' }))).toEqual([401, 'invalid_api_key'])
  })
})

describe('without keys', () => {
  const here = policyWith({ keys: [], azureSigns: null })

  test.each(['http://127.0.0.1:7071/x', 'http://localhost/x', 'http://[::1]:80/x', 'http://127.8.9.1/x'])(
    'whoever asks for %s may do all',
    (url) => {
      const { host } = new URL(url)
      expect(outcome(ask(here, { host }, { url }))).toEqual(localCaller)
      expect(
        outcome(ask(here, { host, 'x-forwarded-host': host, origin: new URL(url).origin }, { url })),
      ).toEqual(localCaller)
    },
  )

  test.each([
    [{ host: 'rebound.example.com' }, 'http://rebound.example.com/'],
    [{ host: 'rebound.example.com' }, 'http://127.0.0.1/'],
    [{ host: '127.0.0.1', 'x-forwarded-host': 'studio.example.com' }, 'http://127.0.0.1/'],
    [{ host: '127.0.0.1', 'x-forwarded-host': '127.0.0.1, 10.0.0.1' }, 'http://127.0.0.1/'],
    [{ host: '127.0.0.1' }, 'http://192.168.1.7/'],
    [{ host: '127.0.0.1.example.com' }, 'http://127.0.0.1/'],
    [{ host: 'localhost.example.com' }, 'http://127.0.0.1/'],
    [{ host: 'a b' }, 'http://127.0.0.1/'],
  ])('%j to %s is refused', (headers, url) => {
    for (const isOpen of [true, false]) {
      expect(outcome(ask(here, headers, { url, isOpen }))).toEqual([403, 'loopback_only'])
    }
  })

  test('a page of another place is refused, unless it is allowed', () => {
    const url = 'http://127.0.0.1:7071/v1/jobs'
    for (const origin of ['https://evil.example.com', 'null', 'http://127.0.0.1.example.com']) {
      expect(outcome(ask(here, { origin }, { url }))).toEqual([403, 'cross_origin'])
    }
    const allowing = { ...here, corsOrigins: ['https://studio.example.com'] }
    expect(outcome(ask(allowing, { origin: 'https://studio.example.com' }, { url }))).toEqual(localCaller)
  })

  test('on Azure nobody may come in, and the log says why, once a minute', () => {
    vi.useFakeTimers()
    const policy = policyWith({ keys: [] })
    for (let count = 0; count < 5; count += 1) {
      expect(outcome(ask(policy, { host: '127.0.0.1' }, { url: 'http://127.0.0.1/' }))).toEqual([
        503,
        'keys_not_set',
      ])
    }
    expect(policy.warnings).toEqual([expect.stringContaining('DARKROOM_API_KEYS is not set')])
    vi.advanceTimersByTime(60_000)
    expect(policy.warnings).toHaveLength(2)
    expect(policy.warnings[1]).toContain('"count":4')
    ask(policy)
    expect(policy.warnings).toHaveLength(3)
    vi.useRealTimers()
    expect(outcome(ask(policy, {}, { isOpen: true }))).toMatchObject({ isAdmin: false })
  })
})
