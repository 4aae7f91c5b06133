import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readHostPatterns, type Destinations } from '../../src/core/destination.ts'
import { guardedFetch, type GuardedFetch, type Resolve } from '../../src/outbound/guarded-fetch.ts'
import type { OutgoingRequest } from '../../src/ports/outgoing.ts'

type Seen = { method: string; url: string; headers: IncomingMessage['headers']; body: string }

let seen: Seen[]
let answer: (seen: Seen, response: ServerResponse) => void
let guards: GuardedFetch[]
let port: number
const servers: ReturnType<typeof createServer>[] = []

beforeEach(async () => {
  seen = []
  guards = []
  answer = (_, response) => response.end('hello')
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = '', url = '', headers } = request
      const one = { method, url, headers, body: Buffer.concat(chunks).toString() }
      seen.push(one)
      answer(one, response)
    })
  })
  servers.push(server)
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done))
  const address = server.address()
  port = typeof address === 'object' ? (address?.port ?? 0) : 0
})

afterEach(async () => {
  await Promise.all(guards.map(async (guard) => guard.close()))
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((done) => void server.close(done))
  }
})

function guard(destinations: Partial<Destinations> & { trust?: string } = {}, resolve?: Resolve) {
  const { trust = '', ...rest } = destinations
  const read = readHostPatterns(trust)
  if (read.kind === 'faulty') throw new Error(read.entry)
  const made = guardedFetch({ hosts: 'any', trusted: read.patterns, ...rest }, resolve)
  guards.push(made)
  const { ask } = made
  return async (url: string, request: Partial<OutgoingRequest> = {}) =>
    ask({ url, method: 'GET', timeoutMs: 5_000, bodyBytesMax: 1_000, redirectsMax: 3, ...request })
}

const here = () => `http://127.0.0.1:${port}`
const trusting = () => guard({ trust: `127.0.0.1:${port}` })

/** A name server that gives these addresses in turn. */
function resolving(...answers: readonly (readonly string[])[]): Resolve & { asked: string[] } {
  const asked: string[] = []
  return Object.assign(
    ((hostname, _, callback) => {
      const addresses = answers[asked.length] ?? []
      asked.push(hostname)
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      )
    }) satisfies Resolve,
    { asked },
  )
}

describe('a guarded request', () => {
  it('answers with status, headers and body, and says who asks', async () => {
    answer = (_, response) => response.writeHead(201, { 'x-a': ['1', '2'] }).end('made')
    const got = await trusting()(`${here()}/hook?a=b`, {
      method: 'POST',
      body: '{"a":1}',
      headers: { 'content-type': 'application/json' },
    })
    expect(got).toMatchObject({ kind: 'answer', status: 201, headers: { 'x-a': '1' } })
    expect(got.kind === 'answer' && Buffer.from(got.body).toString()).toBe('made')
    expect(seen).toMatchObject([
      {
        method: 'POST',
        url: '/hook?a=b',
        body: '{"a":1}',
        headers: {
          'user-agent': 'Darkroom',
          'content-type': 'application/json',
          'accept-encoding': 'identity',
        },
      },
    ])
  })

  it('keeps no cookies', async () => {
    answer = (_, response) => response.setHeader('set-cookie', ['a=b', 'c=d']).end()
    const ask = trusting()
    expect(await ask(here())).toMatchObject({ headers: { 'set-cookie': 'a=b' } })
    await ask(here())
    expect(seen[1]?.headers.cookie).toBeUndefined()
  })

  it('does not reach this machine, under any of its names', async () => {
    const ask = guard()
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '2130706433', '[::ffff:127.0.0.1]']) {
      expect(await ask(`https://${host}/`)).toEqual({ kind: 'refused', why: 'is not a public one' })
    }
    expect(await ask(here())).toEqual({ kind: 'refused', why: 'must begin with https://' })
    expect(seen).toEqual([])
  })

  it('does not reach it by a name that resolves to it, not even among public addresses', async () => {
    const names = resolving(['127.0.0.1'], ['2606:4700::1', '10.0.0.1'], ['::ffff:127.0.0.1'])
    const ask = guard({}, names)
    for (let i = 0; i < 3; i++) {
      expect(await ask('https://rebind.example/')).toEqual({ kind: 'refused', why: 'is not a public one' })
    }
    expect(names.asked).toEqual(['rebind.example', 'rebind.example', 'rebind.example'])
  })

  it('tells of a name that nobody knows', async () => {
    const dead: Resolve = (_, __, callback) => {
      callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), [])
    }
    expect(await guard({}, dead)('https://nowhere.example/')).toEqual({ kind: 'failed', code: 'ENOTFOUND' })
  })

  it('follows redirects, so many and no more', async () => {
    answer = ({ url }, response) => {
      const left = Number(url.slice(1))
      if (left === 0) response.end('there')
      else response.writeHead(302, { location: `/${left - 1}` }).end('elsewhere')
    }
    const ask = trusting()
    expect(await ask(`${here()}/3`)).toMatchObject({ kind: 'answer', status: 200 })
    expect(await ask(`${here()}/4`)).toEqual({ kind: 'refused', why: 'redirects more than 3 times' })
    expect(await ask(`${here()}/1`, { redirectsMax: 0 })).toMatchObject({ kind: 'answer', status: 302 })
    seen = []
    expect(await ask(`${here()}/1`, { method: 'POST', body: 'x' })).toMatchObject({ status: 302 })
    expect(seen).toHaveLength(1)
  })

  it.each([
    ['https://127.0.0.1/', 'is not a public one'],
    ['http://169.254.169.254/metadata', 'must begin with https://'],
    ['//10.0.0.1/', 'must begin with https://'],
    ['https://user:word@example.com/', 'must not hold a user name or a password'],
    ['file:///etc/passwd', 'must begin with https://'],
    ['https://', 'cannot be read'],
  ])('does not follow one to %s', async (location, why) => {
    answer = (_, response) => response.writeHead(307, { location }).end()
    expect(await trusting()(here())).toEqual({ kind: 'refused', why })
    expect(seen).toHaveLength(1)
  })

  it('takes no more of a body than it was to, whatever its headers say', async () => {
    answer = (_, response) => {
      for (let i = 0; i < 100; i++) response.write('x'.repeat(100))
      response.end()
    }
    const ask = trusting()
    expect(await ask(here())).toEqual({ kind: 'failed', code: 'too_large' })
    const cut = await ask(here(), { isBodyCut: true })
    expect(cut).toMatchObject({ kind: 'answer', status: 200 })
    expect(cut.kind === 'answer' && cut.body.length).toBe(1_000)
    expect(await ask(here(), { bodyBytesMax: 10_000 })).toMatchObject({ kind: 'answer' })
  })

  it('gives up when its time is over, before the answer or within it', async () => {
    const ask = trusting()
    answer = () => {}
    expect(await ask(here(), { timeoutMs: 50 })).toEqual({ kind: 'failed', code: 'timeout' })
    answer = (_, response) => response.write('a beginning')
    expect(await ask(here(), { timeoutMs: 50 })).toEqual({ kind: 'failed', code: 'timeout' })
    answer = (_, response) => response.writeHead(302, { location: '/again' }).end()
    expect(await ask(here(), { timeoutMs: 30, redirectsMax: 10_000 })).toEqual({
      kind: 'failed',
      code: 'timeout',
    })
  })

  it('tells of a connection that failed', async () => {
    answer = (_, response) => response.destroy()
    expect(await trusting()(here())).toEqual({ kind: 'failed', code: 'UND_ERR_SOCKET' })
    const closed = guard({ trust: '127.0.0.1:1' })
    expect(await closed('http://127.0.0.1:1/')).toEqual({ kind: 'failed', code: 'ECONNREFUSED' })
  })
})
