import { randomUUID } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { beforeEach, describe, expect, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import type { FileContents } from '../../src/storage/blobs/file-contents.ts'
import { stores } from './stores.ts'

const block = limits.fileBlockBytes

describe.each(stores)('contents that come in runs, in $name', ({ makeFileContents }) => {
  let contents: FileContents
  let id: string

  beforeEach(async () => {
    contents = await makeFileContents()
    id = `upload_${randomUUID()}`
  })

  async function stage(text: string | Buffer, sizeBytesMax = 1e9): Promise<string> {
    const staged = await contents.stage({ id, content: inPieces(Buffer.from(text)), sizeBytesMax })
    if (staged === undefined) throw new Error('the run is too large')
    expect(staged.sizeBytes).toBe(Buffer.from(text).length)
    return staged.run
  }

  async function content(): Promise<string | undefined> {
    const found = await contents.read(id)
    return found && (await buffer(found)).toString()
  }

  test('are no content before they are joined, and then one in the order of the list', async () => {
    const [b, a, c] = [await stage('two,'), await stage('one,'), await stage('three')]
    expect(await content()).toBeUndefined()
    expect(await contents.held(id)).toEqual({ blocks: 3, sizeBytes: 13 })
    expect(await contents.join(id, [a, b, c])).toBe(true)
    expect(await content()).toBe('one,two,three')
  })

  test('may be staged side by side, and have many blocks', async () => {
    const bytes = ['a', 'b', 'c'].map((letter, index) => Buffer.alloc(2 * block + index, letter))
    const runs = await Promise.all(bytes.map(async (each) => stage(each)))
    expect(await contents.held(id)).toEqual({ blocks: 8, sizeBytes: 6 * block + 3 })
    expect(await contents.join(id, runs.toReversed())).toBe(true)
    const all = await buffer((await contents.read(id))!)
    expect(all.equals(Buffer.concat(bytes.toReversed()))).toBe(true)
  })

  test('that are joined may be joined again, in another order and with what came since; others are gone', async () => {
    const [a, b, c] = [await stage('a'), await stage('b'), await stage('c')]
    expect(await contents.join(id, [a, b])).toBe(true)
    expect(await contents.held(id)).toEqual({ blocks: 2, sizeBytes: 2 })
    expect(await contents.join(id, [a, c])).toBe(false)
    expect(await content()).toBe('ab')
    const d = await stage('d')
    expect(await contents.join(id, [d, b, a])).toBe(true)
    expect(await content()).toBe('dba')
  })

  test('that pass their bound, or break off, are no runs, and what has come of them is held', async () => {
    const size = { sizeBytesMax: block + 10 }
    expect(await contents.stage({ id, content: inPieces(Buffer.alloc(2 * block)), ...size })).toBeUndefined()
    const broken = new Error('the sender left')
    const breaking = (async function* () {
      yield* inPieces(Buffer.alloc(block + 5))
      throw broken
    })()
    await expect(contents.stage({ id, content: breaking, sizeBytesMax: 1e9 })).rejects.toBe(broken)
    expect(await contents.held(id)).toEqual({ blocks: 2, sizeBytes: 2 * block })
  })

  test('are tidied away beside a content, and left alone where there is none yet', async () => {
    const a = await stage('a')
    await contents.tidy(id)
    expect(await contents.join(id, [a])).toBe(true)
    await contents.tidy(id)
    await stage('late')
    expect(await contents.held(id)).toEqual({ blocks: 2, sizeBytes: 5 })
    await contents.tidy(id)
    expect(await contents.held(id)).toEqual({ blocks: 1, sizeBytes: 1 })
    expect(await content()).toBe('a')
  })

  test.each([
    ['none', [] as const, false],
    ['runs', ['a', 'b'] as const, false],
    ['a content', ['a'] as const, true],
  ])('are dropped, where there is %s', async (_, texts, isJoined) => {
    const runs: string[] = []
    for (const each of texts) runs.push(await stage(each))
    if (isJoined) await contents.join(id, runs)
    if (isJoined) await stage('late')
    await contents.drop(id)
    expect(await contents.held(id)).toEqual({ blocks: 0, sizeBytes: 0 })
    expect(await content()).toBeUndefined()
    if (runs.length > 0) expect(await contents.join(id, runs)).toBe(false)
  })
})

async function* inPieces(bytes: Buffer): AsyncIterable<Uint8Array> {
  for (let from = 0; from < bytes.length; from += block / 2) yield bytes.subarray(from, from + block / 2)
}
