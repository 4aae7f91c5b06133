import { randomUUID } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { beforeEach, describe, expect, test } from 'vitest'
import { timedId } from '../../src/core/timed-id.ts'
import type { FileStore, StoredFile } from '../../src/ports/files.ts'
import type { FileContents } from '../../src/storage/blobs/file-contents.ts'
import { fileStore } from '../../src/storage/blobs/files.ts'
import type { Table } from '../../src/storage/tables/table.ts'
import { stores } from './stores.ts'

const hourMs = 3_600_000
const large = 9 * 1024 * 1024

describe.each(stores)('files in $name', ({ makeTable, makeFileContents }) => {
  let now: number
  let table: Table
  let contents: FileContents
  let files: FileStore
  /** The ids that were given, in order. */
  let ids: string[]

  beforeEach(async () => {
    now = Date.UTC(2026, 10, 23, 12)
    ids = []
    table = await makeTable()
    const real = await makeFileContents()
    contents = { ...real, write: async (file) => (ids.push(file.id), real.write(file)) }
    files = fileStore({ table, contents, clock: { now: () => now }, newId: randomUUID })
  })

  async function save(
    text: string,
    own: Partial<Parameters<FileStore['save']>[0]> = {},
  ): Promise<StoredFile> {
    const facts = { owner: 'shop', filename: 'lines.jsonl', purpose: 'batch', expiresAfterMs: null } as const
    const saved = await files.save({ ...facts, sizeBytesMax: 100, content: once(text), ...own })
    if (saved.kind === 'too-large') throw new Error('the file is too large')
    now += 1_000
    return saved.file
  }

  async function text(id: string, range?: { from: number; before: number }): Promise<string | undefined> {
    const content = await files.read(id, range)
    return content && (await buffer(content)).toString()
  }

  test('content comes as bytes of any making', async () => {
    async function* plainBytes(): AsyncIterable<Uint8Array> {
      yield new TextEncoder().encode('not a ')
      yield new TextEncoder().encode('Buffer')
    }
    expect(await text((await save('', { content: plainBytes() })).id)).toBe('not a Buffer')
  })

  test('are saved with their facts, and read back whole or in part', async () => {
    const file = await save('one\ntwo\n', { expiresAfterMs: hourMs, filename: '線\u2028 "a".jsonl' })
    expect(file).toEqual({
      id: expect.stringMatching(/^file-[0-9a-z]{20,60}$/) as unknown,
      owner: 'shop',
      filename: '線\u2028 "a".jsonl',
      purpose: 'batch',
      sizeBytes: 8,
      createdAt: Date.UTC(2026, 10, 23, 12),
      expiresAt: Date.UTC(2026, 10, 23, 13),
    })
    expect(await files.get(file.id)).toEqual(file)
    expect(await text(file.id)).toBe('one\ntwo\n')
    expect(await text(file.id, { from: 4, before: 7 })).toBe('two')
    expect(await text(file.id, { from: 4, before: 4 })).toBe('')
  })

  test('empty content is a file, and content of many pieces comes back byte by byte', async () => {
    expect(await text((await save('')).id)).toBe('')
    const bytes = Buffer.alloc(large, 'darkroom')
    const file = await save('', { content: inPieces(bytes, 100_000), sizeBytesMax: large })
    expect(file.sizeBytes).toBe(large)
    const content = await files.read(file.id)
    expect((await buffer(content!)).equals(bytes)).toBe(true)
  })

  test('what does not exist is undefined, and cannot be removed', async () => {
    for (const id of ['', 'file-abc', timedId('file-', now, 'nobody'), '../x', 'file-0/..']) {
      expect(await files.get(id)).toBeUndefined()
      expect(await files.remove(id)).toBe(false)
    }
    expect(await files.read(timedId('file-', now, 'nobody'))).toBeUndefined()
  })

  test.each([
    ['a small one', 11, 10],
    ['one of many blocks', large, large - 1],
  ])('nothing is kept of %s that passes its bound', async (_, sizeBytes, sizeBytesMax) => {
    const content = inPieces(Buffer.alloc(sizeBytes), 100_000)
    const facts = { owner: null, filename: 'x', purpose: 'vision', expiresAfterMs: null } as const
    expect(await files.save({ ...facts, content, sizeBytesMax })).toEqual({ kind: 'too-large' })
    expect(await files.list({ owner: undefined, order: 'desc', limit: 10 })).toEqual({
      files: [],
      hasMore: false,
    })
    expect(await contents.read(ids[0]!)).toBeUndefined()
  })

  test.each([10, large])(
    'nothing is kept when the content breaks off after %i bytes, and its error passes up',
    async (at) => {
      const broken = new Error('the sender left')
      const content = (async function* () {
        yield* inPieces(Buffer.alloc(at), 100_000)
        throw broken
      })()
      await expect(files.keep({ content, sizeBytesMax: large * 2 })).rejects.toBe(broken)
      expect(await contents.read(ids[0]!)).toBeUndefined()
    },
  )

  test('kept content is no file before it is recorded, and none after it is discarded', async () => {
    const kept = await files.keep({ content: once('later'), sizeBytesMax: 5 })
    if (kept.kind === 'too-large') throw new Error('the file is too large')
    expect(kept.sizeBytes).toBe(5)
    expect(await files.get(ids[0]!)).toBeUndefined()
    const facts = { owner: null, filename: 'x.png', purpose: 'vision', expiresAfterMs: null } as const
    expect(await kept.record(facts)).toMatchObject({ id: ids[0], owner: null, expiresAt: null })
    expect(await files.get(ids[0]!)).toMatchObject({ filename: 'x.png', sizeBytes: 5 })
    const other = await files.keep({ content: once('never'), sizeBytesMax: 5 })
    if (other.kind === 'kept') await other.discard()
    expect(await files.read(ids[1]!)).toBeUndefined()
    expect(await files.keep({ content: once('too long'), sizeBytesMax: 5 })).toEqual({ kind: 'too-large' })
    await expect(files.keep({ content: broken(), sizeBytesMax: 50 })).rejects.toThrow('the client has left')
    // Of what did not become a file nothing is left to be looked at.
    const rows = await table.range({ partition: 'expiry', from: '0', before: '~', limit: 9 })
    expect(rows.map(({ row }) => row.split('|')[1])).toEqual([ids[0]])
  })

  test('a file that is made again takes the place of the first', async () => {
    const id = timedId('file-', now, 'output')
    const first = await save('half', { id, purpose: 'batch_output', expiresAfterMs: hourMs })
    const again = await save('the whole', { id, purpose: 'batch_output', expiresAfterMs: hourMs })
    expect(again).toEqual({ ...first, sizeBytes: 9 })
    expect(await text(id)).toBe('the whole')
    expect((await files.list({ owner: 'shop', order: 'desc', limit: 10 })).files).toEqual([again])
    // What breaks off on the way leaves the earlier one as it is.
    expect(await files.keep({ id, content: once('too much'), sizeBytesMax: 2 })).toEqual({
      kind: 'too-large',
    })
    expect(await text(id)).toBe('the whole')
  })

  test('are listed by owner and purpose, in pages, either way', async () => {
    const a = await save('a')
    const b = await save('b', { purpose: 'vision' })
    const c = await save('c', { owner: 'other' })
    const d = await save('d')
    const list = async (query: Partial<Parameters<FileStore['list']>[0]>) => {
      const page = await files.list({ owner: undefined, order: 'desc', limit: 10, ...query })
      return [page.files, page.hasMore]
    }
    expect(await list({})).toEqual([[d, c, b, a], false])
    expect(await list({ order: 'asc' })).toEqual([[a, b, c, d], false])
    expect(await list({ owner: 'shop' })).toEqual([[d, b, a], false])
    expect(await list({ owner: 'shop', limit: 1 })).toEqual([[d], true])
    expect(await list({ owner: 'shop', limit: 2, after: d.id })).toEqual([[b, a], false])
    expect(await list({ purpose: 'batch', limit: 2 })).toEqual([[d, c], true])
    expect(await list({ purpose: 'batch', limit: 2, after: c.id })).toEqual([[a], false])
    expect(await list({ owner: 'nobody' })).toEqual([[], false])
    expect(await files.remove(d.id)).toBe(true)
    expect(await list({ owner: 'shop', after: d.id })).toEqual([[b, a], false])
    expect(await files.get(d.id)).toBeUndefined()
    expect(await files.read(d.id)).toBeUndefined()
  })

  test('one that has expired is not there, and is removed by the next run', async () => {
    const short = await save('short', { expiresAfterMs: hourMs })
    const long = await save('long', { expiresAfterMs: 2 * hourMs })
    const lasting = await save('lasting')
    now = short.expiresAt!
    expect(await files.get(short.id)).toBeUndefined()
    expect((await files.list({ owner: 'shop', order: 'desc', limit: 9 })).files).toEqual([lasting, long])
    expect(await text(short.id)).toBe('short')
    now += 1
    expect(await files.removeExpired()).toBe(1)
    expect(await text(short.id)).toBeUndefined()
    expect(await files.removeExpired()).toBe(0)
    now += 100 * hourMs
    expect(await files.removeExpired()).toBe(1)
    expect(await files.list({ owner: undefined, order: 'asc', limit: 9 })).toEqual({
      files: [lasting],
      hasMore: false,
      lastId: lasting.id,
    })
    expect(await text(lasting.id)).toBe('lasting')
    expect(await table.range({ partition: 'expiry', from: '0', before: '~', limit: 9 })).toEqual([])
  })

  test('content that was never recorded goes after a day', async () => {
    await files.keep({ content: once('left behind'), sizeBytesMax: 100 })
    now += 23 * hourMs
    expect(await files.removeExpired()).toBe(0)
    expect(await text(ids[0]!)).toBe('left behind')
    now += 2 * hourMs
    expect(await files.removeExpired()).toBe(1)
    expect(await text(ids[0]!)).toBeUndefined()
  })
})

async function* once(text: string): AsyncIterable<Uint8Array> {
  yield Buffer.from(text)
}

async function* inPieces(bytes: Uint8Array, size: number): AsyncIterable<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
}

async function* broken(): AsyncIterable<Uint8Array> {
  yield Buffer.from('some')
  throw new Error('the client has left')
}
