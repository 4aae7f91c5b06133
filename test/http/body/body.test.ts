import { describe, expect, test } from 'vitest'
import { limits } from '../../../src/core/limits.ts'
import { newCapacity } from '../../../src/pipeline/capacity.ts'
import { boundedText } from '../../../src/http/body/body.ts'
import { letPass } from '../../../src/http/body/chunks.ts'
import { handsOf } from '../../../src/http/hands.ts'
import { RequestRefused } from '../../../src/http/reply.ts'

function request(body: ReadableStream | string | null, headers: Record<string, string> = {}) {
  return { headers: new Headers(headers), body: typeof body === 'string' ? new Blob([body]).stream() : body }
}

/** A body in pieces; after the last it ends, breaks or goes on waiting. */
function pieces(parts: readonly (string | number)[], end: 'ends' | 'breaks' | 'waits' = 'ends') {
  let pulled = 0
  const stream = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const part = parts[pulled]
      pulled += 1
      if (part !== undefined) {
        controller.enqueue(typeof part === 'number' ? new Uint8Array(part) : new TextEncoder().encode(part))
      } else if (end === 'ends') controller.close()
      else if (end === 'breaks') controller.error(new Error('aborted'))
      else await new Promise(() => {})
    },
  })
  return { stream, pulled: () => pulled }
}

async function refusal(asked: Promise<unknown>): Promise<unknown> {
  const error = await asked.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  return error instanceof RequestRefused ? [error.answer.status, error.answer.code] : error
}

describe('boundedText', () => {
  test('reads what comes in pieces, also where one cuts a character', async () => {
    const bytes = new TextEncoder().encode('{"prompt":"é"}')
    const stream = new ReadableStream({
      start(controller) {
        for (const byte of bytes) controller.enqueue(new Uint8Array([byte]))
        controller.close()
      },
    })
    expect(await boundedText(request(stream))).toBe('{"prompt":"é"}')
    expect(await boundedText(request(null))).toBe('')
  })

  test('is exact about its bound', async () => {
    expect(await boundedText(request('12345'), { bytesMax: 5 })).toBe('12345')
    expect(await boundedText(request('123456'), { bytesMax: 5 })).toBeUndefined()
    expect(await boundedText(request('x', { 'content-length': '6' }), { bytesMax: 5 })).toBeUndefined()
  })

  test('stops reading what has no end', async () => {
    const mib = 1024 * 1024
    const endless = pieces(Array.from({ length: 1_000 }, () => mib))
    expect(await boundedText(request(endless.stream), { bytesMax: 10 })).toBeUndefined()
    expect(endless.pulled()).toBeLessThanOrEqual(limits.drainedBytesMax / mib + 3)
  })

  test('takes what is larger than usual into its hands while it comes, and is refused when there is no room', async () => {
    const capacity = newCapacity(limits.jobsAtOnce)
    const large = limits.requestBodyBytesMax + 1_000
    const hands = handsOf({ capacity })
    const bounds = { bytesMax: 2 * large, hands }
    expect(await boundedText(request('x'.repeat(large)), bounds)).toHaveLength(large)
    expect(capacity.uploads.inUse()).toBe(2_000)
    hands.empty()
    expect(capacity.uploads.inUse()).toBe(0)
    capacity.uploads.add(limits.uploadsInHandBytesMax - 1_999)
    expect(await refusal(boundedText(request('x'.repeat(large)), bounds))).toEqual([503, 'instance_full'])
    expect(await boundedText(request('x'.repeat(large - 1_000)), bounds)).toHaveLength(large - 1_000)
  })

  test('a body that is refused is read no further than its sender needs to hear it', async () => {
    const mib = 1024 * 1024
    const capacity = newCapacity(limits.jobsAtOnce)
    capacity.uploads.add(limits.uploadsInHandBytesMax)
    const endless = pieces(Array.from({ length: 1_000 }, () => mib))
    const bounds = { bytesMax: 900 * mib, hands: handsOf({ capacity }) }
    expect(await refusal(boundedText(request(endless.stream), bounds))).toEqual([503, 'instance_full'])
    expect(endless.pulled()).toBeLessThanOrEqual(limits.drainedBytesMax / mib + 3)
  })

  test('does not wait for ever', async () => {
    const slow = pieces(['{"prom'], 'waits')
    expect(await refusal(boundedText(request(slow.stream), { withinMs: 20 }))).toEqual([
      408,
      'request_timeout',
    ])
  })

  test('says when the client has left', async () => {
    const broken = pieces(['{"prom'], 'breaks')
    expect(await refusal(boundedText(request(broken.stream)))).toEqual([400, 'incomplete_body'])
  })

  test('says when it is no UTF-8', async () => {
    const stream = new Blob([new Uint8Array([0x22, 0xff, 0x22])]).stream()
    expect(await refusal(boundedText(request(stream)))).toEqual([400, 'invalid_encoding'])
  })

  test.each([
    undefined,
    '',
    'application/json',
    'Application/JSON; charset=UTF-8',
    'application/x-www-form-urlencoded',
    'text/plain;charset=UTF-8',
    'application/x-ndjson',
    'application/jsonl',
    'application/problem+json',
    'application/octet-stream',
  ])('takes content-type %s', async (type) => {
    expect(await boundedText(request('{}', type === undefined ? {} : { 'content-type': type }))).toBe('{}')
  })

  test.each([
    { 'content-type': 'multipart/form-data; boundary=x' },
    { 'content-type': 'image/png' },
    { 'content-type': 'application/xml' },
    { 'content-type': 'application/json; charset=utf-16' },
    { 'content-type': 'application/json', 'content-encoding': 'gzip' },
    { 'content-type': 'nonsense' },
  ])('does not take %j', async (headers) => {
    expect(await refusal(boundedText(request('{}', headers)))).toEqual([415, 'unsupported_media_type'])
  })
})

describe('a body that is refused', () => {
  const patience = { withinMs: 50, stallMs: 50 }

  test.each(['ends', 'breaks', 'waits'] as const)('is read on, to nowhere, until it %s', async (end) => {
    const body = pieces([1_000, 'x', 1_000], end)
    await letPass(body.stream, patience)
    expect(body.pulled()).toBeGreaterThanOrEqual(4)
  })

  test('is read no further than hosts let it come', async () => {
    const piece = 8 * 1024 * 1024
    const body = pieces(Array.from({ length: 20 }, () => piece))
    await letPass(body.stream, { withinMs: 10_000, stallMs: 10_000 })
    expect(body.pulled() * piece).toBeLessThanOrEqual(limits.hostBodyBytesMax + 2 * piece)
    await letPass(null, patience)
  })
})
