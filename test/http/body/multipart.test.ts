import { buffer } from 'node:stream/consumers'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { readMultipart, type FilePart, type Multipart } from '../../../src/http/body/multipart.ts'

const bounds = { fieldsMax: 3, fieldBytesMax: 20, filesMax: 2, withinMs: 60_000, stallMs: 60_000 }
const form = 'multipart/form-data; boundary=xx'

type Read = {
  readonly name: string
  readonly filename: string
  readonly contentType: string
  readonly text: string
}

async function whole({ content, ...part }: FilePart): Promise<Read> {
  return { ...part, text: (await buffer(content)).toString() }
}

type Way = { readonly type?: string | null; readonly pieceBytes?: number; readonly breaksAt?: number }

/** The body in pieces of so many bytes. */
async function read(body: string | FormData | null, way: Way = {}): Promise<Multipart<Read>> {
  return readWith(whole, body, way)
}

async function readWith<T>(
  readFile: (part: FilePart) => Promise<T>,
  body: string | FormData | null,
  { type = form, pieceBytes = 7, breaksAt = Infinity }: Way = {},
): Promise<Multipart<T>> {
  const encoded = new Response(body)
  const bytes = new Uint8Array(await encoded.arrayBuffer())
  const contentType = body instanceof FormData ? encoded.headers.get('content-type') : type
  const pieces = async function* () {
    for (let from = 0; from < bytes.length; from += pieceBytes) {
      if (from >= breaksAt) throw new Error('aborted')
      yield bytes.subarray(from, from + pieceBytes)
    }
  }
  const request = {
    headers: new Headers(contentType === null ? {} : { 'content-type': contentType }),
    body: body === null ? null : ReadableStream.from(pieces()),
  }
  return readMultipart(request, bounds, readFile)
}

function part(head: string, body: string): string {
  return `--xx\r\nContent-Disposition: form-data; ${head}\r\n\r\n${body}\r\n`
}

describe('a form', () => {
  test.each([1, 7, 100_000])(
    'is read in pieces of %i bytes, files and fields in any order',
    async (pieceBytes) => {
      const body = new FormData()
      body.append('before', 'one')
      body.append(
        'file',
        new File(['{"a":1}\r\n--almost\r\n', '{"b":2}'], 'lines "猫".jsonl', { type: 'application/jsonl' }),
      )
      body.append('after', 'zwei ü')
      body.append('image[]', new File([''], '../../etc/empty.png', { type: 'image/png' }))
      expect(await read(body, { pieceBytes })).toEqual({
        kind: 'read',
        fields: [
          { name: 'before', value: 'one' },
          { name: 'after', value: 'zwei ü' },
        ],
        files: [
          {
            name: 'file',
            filename: expect.stringMatching(/^lines .*猫.*\.jsonl$/) as unknown,
            contentType: 'application/jsonl',
            text: '{"a":1}\r\n--almost\r\n{"b":2}',
          },
          { name: 'image[]', filename: 'empty.png', contentType: 'image/png', text: '' },
        ],
      })
    },
  )

  test('gives its files one after the other, no faster than they are taken', async () => {
    let sent = 0
    let taken = 0
    const size = 4 * 1024 * 1024
    const body = async function* () {
      yield Buffer.from(`--xx\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n`)
      for (; sent < size; sent += 16_384) yield Buffer.alloc(16_384)
      yield Buffer.from('\r\n--xx--\r\n')
    }
    const request = { headers: new Headers({ 'content-type': form }), body: ReadableStream.from(body()) }
    let aheadMax = 0
    const result = await readMultipart(request, bounds, async ({ content }) => {
      for await (const chunk of content) {
        taken += chunk.length
        await new Promise((resolve) => setImmediate(resolve))
        aheadMax = Math.max(aheadMax, sent - taken)
      }
    })
    expect([result.kind, taken]).toEqual(['read', size])
    expect(aheadMax).toBeLessThan(512 * 1024)
  })

  test('goes on behind a file that nobody reads, or not to its end', async () => {
    const body = new FormData()
    body.append('a', new File(['x'.repeat(500_000)], 'a'))
    body.append('b', new File(['y'.repeat(500_000)], 'b'))
    body.append('last', 'here')
    const readFile = async ({ name, content }: FilePart) => {
      if (name === 'b') for await (const _ of content) break
      return name
    }
    expect(await readWith(readFile, body, { pieceBytes: 65_536 })).toEqual({
      kind: 'read',
      fields: [{ name: 'last', value: 'here' }],
      files: ['a', 'b'],
    })
  })

  test('what the reader of a file throws passes up, when the body has been read', async () => {
    const fault = new Error('storage is away')
    const body = new FormData()
    body.append('a', new File(['x'.repeat(500_000)], 'a'))
    const readFile = async (): Promise<never> => Promise.reject(fault)
    await expect(readWith(readFile, body, { pieceBytes: 65_536 })).rejects.toBe(fault)
  })
})

describe('what is no form is refused', () => {
  test.each([null, 'application/json', 'multipart/mixed; boundary=xx', 'multipart/form-datax; boundary=xx'])(
    'with 415: the content type %j',
    async (type) => {
      expect(await read('{}', { type })).toMatchObject({ kind: 'refused', fault: { status: 415 } })
    },
  )

  const file = part('name="file"; filename="f"', 'content')
  test.each([
    ['no boundary', file, 'multipart/form-data'],
    ['another boundary', `${file}--xx--`, 'multipart/form-data; boundary=yy'],
    ['an empty body', '', form],
    ['no body', null, form],
    ['no parts', 'hello', form],
    ['no end', file, form],
    ['an end within a head', '--xx\r\nContent-Disposition: form-d', form],
    ['an end within a file', file.slice(0, -6), form],
    ['an end within a field', part('name="a"', 'long value').slice(0, -8), form],
    ['a boundary too long to look for', `${file}--xx--`, `multipart/form-data; boundary=${'x'.repeat(300)}`],
    [
      'too many fields',
      `${'1234'
        .split('')
        .map((name) => part(`name="${name}"`, 'v'))
        .join('')}--xx--`,
      form,
    ],
    ['too many files', `${file.repeat(3)}--xx--`, form],
    ['too long a field', `${part('name="a"', 'v'.repeat(21))}--xx--`, form],
  ])('with 400: %s', async (_, body, type) => {
    expect(await read(body, { type })).toMatchObject({
      kind: 'refused',
      fault: {
        status: 400,
        code: 'invalid_multipart',
        message: expect.stringContaining('multipart/form-data') as unknown,
      },
    })
  })

  test('with 400: a body that breaks off, whose file breaks off too', async () => {
    const body = `${part('name="file"; filename="f"', 'x'.repeat(100_000))}--xx--`
    const ends: string[] = []
    const readFile = async ({ content }: FilePart) => {
      try {
        await buffer(content)
      } catch (error) {
        ends.push(String(error))
        throw error
      }
    }
    expect(await readWith(readFile, body, { breaksAt: 50_000 })).toMatchObject({
      kind: 'refused',
      fault: { status: 400 },
      files: [],
    })
    expect(ends).toEqual([expect.stringContaining('aborted')])
  })

  test('files that were read before the fault are handed over', async () => {
    const body = `${file}${part('name="a"', 'v').slice(0, -3)}`
    expect(await read(body)).toMatchObject({ kind: 'refused', files: [{ name: 'file', text: 'content' }] })
  })
})

test('whatever the bytes, there is an answer', async () => {
  const pieces = fc.constantFrom(
    '--xx',
    '--xx--',
    '\r\n',
    '\r\n\r\n',
    'Content-Disposition: form-data; name="file"; filename="f"',
    'Content-Disposition: form-data; name="a"',
    'Content-Disposition: form-data',
    'Content-Disposition: attachment; name="b"',
    'Content-Type: text/plain; charset=nonsense',
    'Content-Transfer-Encoding: base64',
    'value',
    '\0\uffff',
    '-',
    ':',
  )
  const bodies = fc.array(fc.oneof(pieces, fc.string()), { maxLength: 20 }).map((all) => all.join(''))
  await fc.assert(
    fc.asyncProperty(bodies, fc.integer({ min: 1, max: 50 }), async (body, pieceBytes) => {
      const result = await read(body, { pieceBytes })
      expect(['read', 'refused']).toContain(result.kind)
    }),
    { numRuns: 500 },
  )
})

describe('a body that comes too slowly', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })

  afterEach(() => {
    vi.useRealTimers()
  })

  /** A piece of the file every so many milliseconds, for ever. */
  function dripping(everyMs: number) {
    const pieces = async function* () {
      yield Buffer.from('--xx\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
      while (true) {
        await new Promise((resolve) => setTimeout(resolve, everyMs))
        yield Buffer.from('x')
      }
    }
    return { headers: new Headers({ 'content-type': form }), body: ReadableStream.from(pieces()) }
  }

  test.each([
    [40_000, 'nothing came of the body for 30 s', 30_000],
    [20_000, 'the body did not come within 200 s', 200_000],
  ])('is refused: a piece every %i ms', async (everyMs, message, afterMs) => {
    let read: Multipart<unknown> | undefined
    const slow = { ...bounds, withinMs: 200_000, stallMs: 30_000 }
    void readMultipart(dripping(everyMs), slow, whole).then((done) => (read = done))
    await vi.advanceTimersByTimeAsync(afterMs - 1)
    expect(read).toBeUndefined()
    await vi.advanceTimersByTimeAsync(2)
    expect(read).toEqual({
      kind: 'refused',
      fault: { status: 408, code: 'request_timeout', message },
      files: [],
    })
  })
})
