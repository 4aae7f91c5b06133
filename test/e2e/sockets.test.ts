import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run, type Running } from './running.ts'

let running: Running

beforeAll(async () => {
  running = await run({ rpm: 60 })
})

afterAll(async () => {
  await running.stop()
})

/** Sends what no client would, and reads what comes until the other side is done, or silent. */
async function send(...pieces: readonly (string | Uint8Array | number)[]): Promise<string> {
  const { port } = new URL(running.instances[0]!.url)
  const socket = connect(Number(port), '127.0.0.1')
  let heard = ''
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1')
  })
  // A reset is an answer too.
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  for (const piece of pieces) {
    if (typeof piece === 'number') await pause(piece)
    else if (!socket.destroyed) socket.write(piece)
  }
  await Promise.race([closed, quiet(() => heard.length)])
  socket.destroy()
  return heard
}

/** A second of silence after what was heard; of nothing at all a few, for a busy machine answers late. */
async function quiet(length: () => number): Promise<void> {
  for (let looks = 0; looks < 4 && length() === 0; looks += 1) await pause(1_000)
  for (let before = -1; before !== length(); await pause(1_000)) before = length()
}

function request(line: string, headers: readonly string[] = [], host = 'Host: 127.0.0.1'): string {
  return [`${line} HTTP/1.1`, host, 'Connection: close', ...headers, '', ''].join('\r\n')
}

/** What came, as status, headers and error. */
function read(text: string): { status: number; head: string; error: any } {
  const [head = '', body = ''] = text.split('\r\n\r\n')
  const json = body.slice(body.indexOf('{'), body.lastIndexOf('}') + 1)
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]),
    head,
    error: json === '' ? undefined : JSON.parse(json).error,
  }
}

describe('in OpenAI’s shape, with a request id, comes', () => {
  test.each([
    ['404', 'GET /v1/nothing', 'not_found'],
    ['404', 'GET /v1/%zz', 'not_found'],
    ['404', 'GET /v1/jobs/%zz', 'not_found'],
    ['404', 'GET /v1/jobs/%ff.%c3', 'not_found'],
    ['404', 'GET /v1/jobs/a%2fb.c', 'not_found'],
    ['404', 'GET /v1/jobs/../../etc/passwd', 'not_found'],
    ['405', 'DELETE /v1/jobs', 'method_not_allowed'],
    ['405', 'GET /v1/jobs/a.b/cancel', 'method_not_allowed'],
    ['414', `GET /v1/jobs/${'x'.repeat(9_000)}`, 'uri_too_long'],
  ])('a %s to %.60s', async (status, line, code) => {
    const { head, error, ...answer } = read(await send(request(line)))
    expect([String(answer.status), error.code]).toEqual([status, code])
    expect(head).toMatch(/\r\nx-request-id: [0-9a-f-]{36}(\r\n|$)/)
    if (status === '405') expect(head).toMatch(/\r\nallow: [A-Z, ]+(\r\n|$)/)
  })

  test('a 403 for another name of this machine', async () => {
    for (const headers of [['X-Forwarded-Host: evil.example.com'], ['Origin: https://evil.example.com']]) {
      expect(read(await send(request('GET /v1/budget', headers))).status).toBe(403)
    }
    const rebound = request('GET /v1/budget', [], 'Host: evil.example.com')
    expect(read(await send(rebound))).toMatchObject({ status: 403, error: { code: 'loopback_only' } })
  })

  test('a 413 for a body that is longer than told, or says so itself', async () => {
    const long = Buffer.alloc(3 * 1024 * 1024, 0x20)
    const told = request('POST /v1/batches/toys/pause', [`Content-Length: ${long.length}`])
    await running.post('/v1/jobs', { prompt: 'a fox', batch: 'toys', custom_id: 'fox' })
    expect(read(await send(told, long))).toMatchObject({ status: 413, error: { code: 'request_too_large' } })
    const chunked = request('POST /v1/batches/toys/pause', ['Transfer-Encoding: chunked'])
    const chunk = [`${long.length.toString(16)}\r\n`, long, '\r\n0\r\n\r\n']
    expect(read(await send(chunked, ...chunk))).toMatchObject({ status: 413 })
  })
})

test('a body in pieces is read to its end', async () => {
  const head = request('POST /v1/jobs', ['Transfer-Encoding: chunked'])
  const pieces = ['{"prompt":"a ', 'fox","batch":"pieces",', '"custom_id":"1"}']
  const chunks = pieces.flatMap((piece) => [`${piece.length.toString(16)}\r\n${piece}\r\n`, 50])
  expect(read(await send(head, ...chunks, '0\r\n\r\n')).status).toBe(202)
})

test.each<[string, (string | number)[]]>([
  ['chunks that are none', [request('POST /v1/jobs', ['Transfer-Encoding: chunked']), 'ZZ\r\n{"prompt"']],
  ['a body that breaks off', [request('POST /v1/jobs', ['Content-Length: 100']), '{"prompt":', 100]],
  ['two lengths', [request('POST /v1/jobs', ['Content-Length: 1', 'Content-Length: 2']), '{}']],
  [
    'a length and chunks',
    [request('POST /v1/jobs', ['Content-Length: 2', 'Transfer-Encoding: chunked']), '{}'],
  ],
  ['no HTTP', ['\x16\x03\x01 hello\r\n\r\n']],
  ['a whole address', [request('GET http://evil.example.com/v1/budget')]],
  ['no path', [request('OPTIONS *')]],
  ['a host that is none', [request('GET /v1/budget', [], 'Host: a b')]],
  ['headers without end', [request('GET /v1/budget', [`X-Long: ${'x'.repeat(40_000)}`])]],
  ['a method that is none of ours', [request('TRACE /v1/budget')]],
])('%s are refused, or dropped, and start nothing', async (_, pieces) => {
  const heard = await send(...pieces)
  if (heard !== '') expect(read(heard).status).toBeGreaterThanOrEqual(400)
  if (heard !== '') expect(read(heard).status).toBeLessThan(500)
})

test('the host’s own paths are left to it, and so is what it refuses before any function', async () => {
  const own: readonly (readonly [string, number])[] = [
    ['GET /admin/host/status', 401],
    ['GET /runtime/webhooks/x', 404],
    ['GET //evil.example.com/v1/jobs', 404],
    ['TRACE /v1/jobs', 404],
    ['GET /v1/jobs/%00', 400],
  ]
  for (const [line, status] of own) {
    expect(read(await send(request(line)))).toMatchObject({ status, error: undefined })
  }
})

test('the address itself says what this is', async () => {
  for (const method of ['GET', 'HEAD']) expect(read(await send(request(`${method} /`))).status).toBe(200)
  const { version } = JSON.parse(await readFile(join(import.meta.dirname, '../../package.json'), 'utf8'))
  const home = await send(request('GET /'))
  expect(home).toContain(`Darkroom ${version}`)
  expect(home).toContain('/healthz')
  const rebound = request('GET /', [], 'Host: evil.example.com')
  expect(read(await send(rebound))).toMatchObject({ status: 403 })
})

test('after all of it the service is well, and has no fault of its own in its log', async () => {
  expect((await running.get('/healthz')).status).toBe(200)
  const { lines } = running.instances[0]!
  expect(lines.filter((line) => /request_failed|internal_error/.test(line))).toEqual([])
  expect(lines.join('\n')).toMatch(
    /"level":"info","event":"request_refused","request":"[0-9a-f-]{36}","route":"DELETE without a route","status":405,/,
  )
})
