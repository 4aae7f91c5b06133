import { createHash, randomUUID } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { beforeEach, describe, expect, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { timing } from '../../src/core/timing.ts'
import type { FileStore } from '../../src/ports/files.ts'
import type { UploadFacts, UploadStore } from '../../src/ports/uploads.ts'
import type { FileContents } from '../../src/storage/blobs/file-contents.ts'
import { fileStore } from '../../src/storage/blobs/files.ts'
import type { Table, TransactResult } from '../../src/storage/tables/table.ts'
import { uploadStore } from '../../src/storage/blobs/uploads.ts'
import { losingAnswers, type LostAnswer } from '../support/lost-answers.ts'
import { stores } from './stores.ts'

const hourMs = 3_600_000
const startAt = Date.UTC(2026, 10, 23, 12)
const facts: UploadFacts = {
  owner: 'shop',
  filename: '線 "a".jsonl',
  purpose: 'batch',
  sizeBytes: 8,
  fileExpiresAfterMs: 2 * hourMs,
}

describe.each(stores)('uploads in $name', ({ makeTable, makeFileContents }) => {
  let now: number
  let table: Table
  let contents: FileContents
  let files: FileStore
  let uploads: UploadStore

  beforeEach(async () => {
    now = startAt
    table = await makeTable()
    contents = await makeFileContents()
    files = fileStore(partsOf(table, contents))
    uploads = uploadStore(partsOf(table, contents))
  })

  const partsOf = (own: Table, bytes: FileContents) => ({
    table: own,
    contents: bytes,
    clock: { now: () => now },
    newId: randomUUID,
  })

  async function open(own: Partial<UploadFacts> = {}): Promise<string> {
    return (await uploads.open({ ...facts, ...own })).id
  }

  async function add(id: string, text: string): Promise<string> {
    const added = await adding(id, text)
    if (added?.kind !== 'added') throw new Error(`the part is ${added?.kind}`)
    return added.part.id
  }

  async function adding(id: string, text: string, store = uploads) {
    const staged = await store.stage({ id, content: once(text) })
    return staged?.kind === 'staged' ? staged.record() : staged
  }

  async function complete(id: string, partIds: readonly string[], md5: string | null = null) {
    return uploads.complete({ id, partIds, md5 })
  }

  async function textOf(id: string): Promise<string | undefined> {
    const content = await files.read(id)
    return content && (await buffer(content)).toString()
  }

  /** All that is left of it in storage. */
  async function left(id: string) {
    const rows = await table.range({ partition: `upload:${id}`, from: '0', before: '~', limit: 2_000 })
    const due = await table.range({ partition: 'upload-expiry', from: '0', before: '~', limit: 10 })
    return { rows: rows.map(({ row }) => row), due: due.length, held: (await contents.held(id)).sizeBytes }
  }

  const nothing = { rows: [], due: 0, held: 0 }
  const listed = async () => (await files.list({ owner: undefined, order: 'asc', limit: 10 })).files

  test('are made, and found again as they were', async () => {
    const upload = await uploads.open(facts)
    expect(upload).toEqual({
      ...facts,
      id: expect.stringMatching(/^upload_[0-9a-z]{41}$/) as unknown,
      createdAt: startAt,
      expiresAt: startAt + hourMs,
      status: 'pending',
      file: null,
    })
    expect(await uploads.get(upload.id)).toEqual(upload)
    const other = await uploads.open({ ...facts, owner: null, fileExpiresAfterMs: null, purpose: 'vision' })
    expect(await uploads.get(other.id)).toEqual(other)
  })

  test('that are none are undefined, whatever is asked of them', async () => {
    for (const id of ['', 'upload_', 'upload_0', `upload_0${'a'.repeat(40)}`, '../x', 'file-0mcqvlkow1']) {
      expect(await uploads.get(id)).toBeUndefined()
      expect(await uploads.stage({ id, content: once('x') })).toBeUndefined()
      expect(await complete(id, ['part_1'])).toBeUndefined()
      expect(await uploads.cancel(id)).toBeUndefined()
    }
  })

  test('become a file of the time when they are completed, of the parts in the order that is asked for', async () => {
    const id = await open()
    const [second, first] = await Promise.all([add(id, 'efgh'), add(id, 'abcd')])
    now += 60_000
    const completed = await complete(id, [first, second])
    const file = {
      id: expect.stringMatching(/^file-[0-9a-z]{51}$/) as unknown,
      owner: 'shop',
      filename: facts.filename,
      purpose: 'batch',
      sizeBytes: 8,
      createdAt: now,
      expiresAt: now + 2 * hourMs,
    }
    expect(completed).toEqual({
      kind: 'completed',
      upload: { ...facts, id, createdAt: startAt, expiresAt: startAt + hourMs, status: 'completed', file },
    })
    expect(await listed()).toEqual([file])
    const [{ id: fileId } = { id: '' }] = await listed()
    expect(await textOf(fileId)).toBe('abcdefgh')
    const part = await files.read(fileId, { from: 2, before: 5 })
    expect(part && (await buffer(part)).toString()).toBe('cde')
  })

  test('whose file is deleted, or expires, are completed and have none', async () => {
    for (const end of ['deleted', 'expired'] as const) {
      const id = await open({ sizeBytes: 4, fileExpiresAfterMs: hourMs / 2 })
      const partId = await add(id, 'abcd')
      const completed = await complete(id, [partId])
      const fileId = completed?.kind === 'completed' ? completed.upload.file!.id : ''
      if (end === 'deleted') expect(await files.remove(fileId)).toBe(true)
      else now += hourMs / 2
      expect(await textOf(fileId)).toBe(end === 'deleted' ? undefined : 'abcd')
      expect(await uploads.get(id)).toMatchObject({ status: 'completed', file: null })
      expect(await complete(id, [partId])).toMatchObject({ upload: { status: 'completed', file: null } })
    }
    now += 1
    expect(await files.removeExpired()).toBe(1)
    expect(await listed()).toEqual([])
  })

  test('are refused parts that are unknown, of others, named twice, or not of the size that was told', async () => {
    const id = await open()
    const [a, b] = [await add(id, 'abcd'), await add(id, 'efg')]
    const foreign = await add(await open(), 'abcd')
    for (const partId of [foreign, 'part_none', '', '__proto__']) {
      expect(await complete(id, [a, partId])).toEqual({ kind: 'unknown-part', partId })
    }
    expect(await complete(id, [a, a])).toEqual({ kind: 'repeated-part', partId: a })
    expect(await complete(id, [a, b])).toEqual({ kind: 'wrong-size', sizeBytes: 7 })
    expect(await uploads.get(id)).toMatchObject({ status: 'pending' })
    expect(await complete(id, [a, await add(id, 'EFGH')])).toMatchObject({ kind: 'completed' })
  })

  test('are held to their md5 where one is given, and stay as they were where it is another', async () => {
    const id = await open()
    const [a, b, spare] = [await add(id, 'abcd'), await add(id, 'efgh'), await add(id, 'ABCD')]
    expect(await complete(id, [a, b], '0'.repeat(32))).toEqual({ kind: 'wrong-md5', md5: md5('abcdefgh') })
    expect(await listed()).toEqual([])
    expect(await uploads.get(id)).toMatchObject({ status: 'pending' })
    const late = await add(id, 'EFGH')
    expect(await complete(id, [a, b], md5('ABCDEFGH'))).toMatchObject({ kind: 'wrong-md5' })
    expect(await complete(id, [spare, late], md5('ABCDEFGH'))).toMatchObject({ kind: 'completed' })
    const [file] = await listed()
    expect(await textOf(file!.id)).toBe('ABCDEFGH')
    expect(await left(id)).toMatchObject({ held: 8 })
  })

  test('may be completed again with the same parts, and with no others', async () => {
    const id = await open()
    const [a, b] = [await add(id, 'abcd'), await add(id, 'efgh')]
    const first = await complete(id, [a, b], md5('abcdefgh'))
    now += 2_000
    expect(first).toMatchObject({ kind: 'completed' })
    expect(await complete(id, [a, b], md5('abcdefgh'))).toEqual(first)
    expect(await complete(id, [a, b])).toEqual(first)
    const closed = { kind: 'closed', why: 'completed' }
    expect(await complete(id, [b, a])).toEqual(closed)
    expect(await complete(id, [a])).toEqual(closed)
    expect(await complete(id, [a, b], md5('else'))).toEqual(closed)
    expect(await uploads.cancel(id)).toEqual(closed)
    expect(await adding(id, 'x')).toEqual(closed)
    expect(await listed()).toHaveLength(1)
  })

  test('completed by several at once become one file', async () => {
    const id = await open()
    const [a, b] = [await add(id, 'abcd'), await add(id, 'efgh')]
    await add(id, 'spare')
    const sum = md5('abcdefgh')
    const all = await Promise.all(Array.from({ length: 4 }, async () => complete(id, [a, b], sum)))
    for (const each of all) {
      expect([each?.kind, each?.kind === 'closed' ? each.why : 'completing']).toEqual([
        expect.stringMatching(/^(completed|closed)$/),
        'completing',
      ])
    }
    expect(all.some((each) => each?.kind === 'completed')).toBe(true)
    expect(await complete(id, [a, b], sum)).toMatchObject({ kind: 'completed' })
    expect(await listed()).toHaveLength(1)
    expect(await textOf((await listed())[0]!.id)).toBe('abcdefgh')
  })

  test('that are cancelled hold nothing, take nothing, and stay so', async () => {
    const id = await open()
    const a = await add(id, 'abcdefgh')
    const cancelled = await uploads.cancel(id)
    expect(cancelled).toMatchObject({ kind: 'cancelled', upload: { id, status: 'cancelled', file: null } })
    expect(await left(id)).toMatchObject({ held: 0 })
    expect(await uploads.cancel(id)).toEqual(cancelled)
    const closed = { kind: 'closed', why: 'cancelled' }
    expect([await adding(id, 'x'), await complete(id, [a])]).toEqual([closed, closed])
  })

  test.each(['completed', 'cancelled', 'expired'] as const)(
    'that are %s while a part comes do not take it',
    async (end) => {
      const id = await open()
      const a = await add(id, 'abcdefgh')
      const staged = await uploads.stage({ id, content: once('late') })
      if (end === 'completed') await complete(id, [a])
      else if (end === 'cancelled') await uploads.cancel(id)
      else now += hourMs
      expect(staged?.kind === 'staged' && (await staged.record())).toEqual({ kind: 'closed', why: end })
      if (end === 'completed') expect(await textOf((await listed())[0]!.id)).toBe('abcdefgh')
      // Whatever became of it, nothing that was no part is left when it is swept.
      now = startAt + 2 * hourMs + 1
      expect(await uploads.removeExpired()).toBe(end === 'completed' ? 0 : 1)
      expect(await left(id)).toEqual({ ...nothing, held: end === 'completed' ? 8 : 0 })
    },
  )

  test('do not take a part whose bytes a vain completion has dropped', async () => {
    const id = await open()
    const a = await add(id, 'abcdefgh')
    const staged = await uploads.stage({ id, content: once('late') })
    expect(await complete(id, [a], '0'.repeat(32))).toMatchObject({ kind: 'wrong-md5' })
    const closed = { kind: 'closed', why: 'completing' }
    expect(staged?.kind === 'staged' && (await staged.record())).toEqual(closed)
    expect(await uploads.get(id)).toMatchObject({ status: 'pending' })
    expect(await complete(id, [await add(id, 'ABCDEFGH')])).toMatchObject({ kind: 'completed' })
  })

  test('expire after an hour, and what they left is swept an hour later', async () => {
    const id = await open()
    const a = await add(id, 'abcdefgh')
    now = startAt + hourMs - 1
    expect(await uploads.get(id)).toMatchObject({ status: 'pending' })
    now += 1
    const expired = { kind: 'closed', why: 'expired' }
    expect(await uploads.get(id)).toMatchObject({ status: 'expired' })
    expect([await adding(id, 'x'), await complete(id, [a]), await uploads.cancel(id)]).toEqual([
      expired,
      expired,
      expired,
    ])
    now += timing.uploadSweepMs - 1
    expect(await uploads.removeExpired()).toBe(0)
    expect(await left(id)).toMatchObject({ held: 8, due: 1 })
    now += 2
    expect(await uploads.removeExpired()).toBe(1)
    expect(await left(id)).toEqual(nothing)
    expect(await uploads.get(id)).toBeUndefined()
    expect(await uploads.removeExpired()).toBe(0)
  })

  test('of many parts are swept whole', async () => {
    const id = await open({ sizeBytes: 250 })
    for (let part = 0; part < 230; part += 1) await add(id, 'x')
    now = startAt + 3 * hourMs
    expect(await uploads.removeExpired()).toBe(1)
    expect(await left(id)).toEqual(nothing)
  })

  test('that became files leave these when they are swept', async () => {
    const id = await open()
    await complete(id, [await add(id, 'abcdefgh')])
    const [file] = await listed()
    const lasting = await open({ fileExpiresAfterMs: null, sizeBytes: 4 })
    await complete(lasting, [await add(lasting, 'last')])
    now = startAt + 2 * hourMs + 1
    expect(await uploads.removeExpired()).toBe(0)
    expect([await left(id), await uploads.get(id)]).toEqual([{ ...nothing, held: 8 }, undefined])
    expect(await textOf(file!.id)).toBe('abcdefgh')
    expect(await files.removeExpired()).toBe(1)
    expect((await listed()).map(({ sizeBytes }) => sizeBytes)).toEqual([4])
    expect((await contents.held(id)).sizeBytes).toBe(0)
  })

  test('are swept in the end, wherever a sweep breaks off, and their files stay', async () => {
    let isOver = false
    for (let step = 0; !isOver; step += 1) {
      expect(step).toBeLessThan(30)
      now = startAt + step * 10 * hourMs
      const [kept, dropped] = [await open({ fileExpiresAfterMs: null }), await open()]
      await complete(kept, [await add(kept, 'abcdefgh')])
      await add(dropped, 'abcdefgh')
      now += 3 * hourMs
      const dying = uploadStore(dyingAt(step, partsOf(table, contents)))
      isOver = await dying.removeExpired().then(
        () => true,
        (error: unknown) => {
          // What kept one upload from being swept is told with what kept the others.
          for (const each of error instanceof AggregateError ? error.errors : [error]) {
            expect(each).toBe(death)
          }
          return false
        },
      )
      await uploads.removeExpired()
      expect([await left(kept), await left(dropped)]).toEqual([{ ...nothing, held: 8 }, nothing])
    }
    for (const file of await listed()) expect(await textOf(file.id)).toBe('abcdefgh')
  })

  test('are looked for again when somebody else changed them while they were swept', async () => {
    const id = await open()
    await add(id, 'abcdefgh')
    now = startAt + 3 * hourMs
    const transact = async () => ({ kind: 'conflict', conflictAt: 0 }) as const
    await uploadStore(partsOf({ ...table, transact }, contents)).removeExpired()
    expect(await left(id)).toMatchObject({ due: 1, held: 0 })
    await uploads.removeExpired()
    expect(await left(id)).toEqual(nothing)
  })

  test('take no part that is larger than a part may be, or than all of them together', async () => {
    const id = await open()
    expect(await uploads.stage({ id, content: once('123456789') })).toEqual({
      kind: 'too-large',
      sizeBytesMax: 8,
    })
    const large = await open({ sizeBytes: limits.batchFileBytesMax })
    const sizeBytesMax = limits.requestFilesBytesMax
    const given: number[] = []
    const counting = uploadStore(
      partsOf(table, {
        ...contents,
        stage: async (part) => (given.push(part.sizeBytesMax), contents.stage(part)),
      }),
    )
    expect(await counting.stage({ id: large, content: once('x') })).toMatchObject({ kind: 'staged' })
    expect(given).toEqual([sizeBytesMax])
  })

  test('take no part when they hold as much as they may, broken ones included', async () => {
    const id = await open({ sizeBytes: limits.batchFileBytesMax })
    for (const held of [
      { blocks: 5, sizeBytes: limits.uploadHeldBytesMax },
      { blocks: limits.uploadHeldBlocksMax, sizeBytes: 5 },
    ]) {
      const filled = uploadStore(partsOf(table, { ...contents, held: async () => held }))
      expect(await filled.stage({ id, content: once('x') })).toEqual({ kind: 'full' })
    }
    await expect(uploads.stage({ id, content: broken() })).rejects.toThrow('the sender left')
    expect((await contents.held(id)).sizeBytes).toBe(limits.fileBlockBytes)
    expect(await adding(id, 'abcd')).toMatchObject({ kind: 'added' })
  })

  test('take as many parts as they may have, and no more', async () => {
    const id = await open()
    const staged = await uploads.stage({ id, content: once('x') })
    const [upload] = await table.range({ partition: `upload:${id}`, from: 'upload', before: '~', limit: 1 })
    const values = { parts: String(limits.uploadPartsMax - 1) }
    await table.transact(`upload:${id}`, [{ kind: 'merge', row: upload!.row, values }])
    expect(await adding(id, 'y')).toMatchObject({ kind: 'added' })
    // Of what cannot be a part nothing is kept.
    const { held } = await left(id)
    expect(await uploads.stage({ id, content: once('z') })).toEqual({ kind: 'full' })
    expect(await left(id)).toMatchObject({ held })
    expect(staged?.kind === 'staged' && (await staged.record())).toEqual({ kind: 'full' })
  })

  test.each(['throws', 'sent-again'] as const)(
    'come to the same when answers of changes are lost: the change %s',
    async (lost: LostAnswer) => {
      // Two of five, in no order.
      let chance = 1
      const lose = () => (chance = (chance * 48_271) % 2_147_483_647) % 5 < 2
      const losing = losingAnswers(table, () => (lose() ? lost : undefined))
      const store = uploadStore(partsOf(losing, contents))
      const again = async <T>(ask: () => Promise<T>): Promise<T> => {
        for (let tries = 0; tries < 50; tries += 1) {
          try {
            return await ask()
          } catch (error) {
            for (const each of error instanceof AggregateError ? error.errors : [error]) {
              expect(each).toMatchObject({ message: 'the answer was lost' })
            }
          }
        }
        throw new Error('it never came to an end')
      }
      const { id } = await again(async () => store.open(facts))
      const added = await again(async () => adding(id, 'abcdefgh', store))
      const partIds = [added?.kind === 'added' ? added.part.id : '']
      const completed = await again(async () => store.complete({ id, partIds, md5: md5('abcdefgh') }))
      expect(completed).toMatchObject({ kind: 'completed' })
      expect(await listed()).toHaveLength(1)
      const other = await again(async () => store.open(facts))
      expect(await again(async () => store.cancel(other.id))).toMatchObject({ kind: 'cancelled' })
      now = startAt + 5 * hourMs
      for (let run = 0; run < 9; run += 1) await again(async () => store.removeExpired())
      expect([await left(id), await left(other.id)]).toEqual([{ ...nothing, held: 8 }, nothing])
    },
  )

  test.each([null, md5('abcdefgh')])(
    'come to the same file wherever an instance dies that completes them (md5 %s)',
    async (sum) => {
      for (let step = 0, isOver = false; !isOver; step += 1) {
        expect(step).toBeLessThan(30)
        const id = await open()
        const [a, b] = [await add(id, 'abcd'), await add(id, 'efgh')]
        await add(id, 'spare')
        const asked = { id, partIds: [a, b], md5: sum }
        const dying = uploadStore(dyingAt(step, partsOf(table, contents)))
        isOver = await dying.complete(asked).then(
          () => true,
          (error: unknown) => {
            // What kept one upload from being swept is told with what kept the others.
            for (const each of error instanceof AggregateError ? error.errors : [error]) {
              expect(each).toBe(death)
            }
            return false
          },
        )
        now += 1_000
        const before = await listed()
        // Nobody asks again: it is swept, and there is a whole file or nothing.
        if (step % 2 === 1) {
          const saved = now
          now += 2 * hourMs
          await uploads.removeExpired()
          now = saved
          expect(await listed()).toEqual(before)
          const { held, rows } = await left(id)
          expect([held, rows]).toEqual([before.length === 0 ? 0 : 8, []])
        } else {
          expect(await uploads.complete(asked)).toMatchObject({ kind: 'completed' })
        }
        for (const file of await listed()) {
          expect(await textOf(file.id)).toBe('abcdefgh')
          await files.remove(file.id)
        }
      }
    },
  )
})

const death = new Error('the instance died')

/** What an instance asks of storage up to its death; each step dies once before, and once after it was done. */
function dyingAt<T extends { readonly table: Table; readonly contents: FileContents }>(
  step: number,
  parts: T,
): T {
  let steps = 0
  const mortal = <Args extends unknown[], Result>(work: (...args: Args) => Promise<Result>) => {
    return async (...args: Args): Promise<Result> => {
      const isLast = (): boolean => (steps += 1) > step
      if (isLast()) throw death
      const result = await work(...args)
      if (isLast()) throw death
      return result
    }
  }
  const { table, contents } = parts
  const transact = mortal<Parameters<Table['transact']>, TransactResult>(async (...args) =>
    table.transact(...args),
  )
  const join = mortal<Parameters<FileContents['join']>, boolean>(async (...args) => contents.join(...args))
  const remove = mortal<Parameters<Table['remove']>, 'removed' | 'conflict'>(async (...args) =>
    table.remove(...args),
  )
  const [tidy, drop] = [
    mortal(async (id: string) => contents.tidy(id)),
    mortal(async (id: string) => contents.drop(id)),
  ]
  return {
    ...parts,
    table: { ...table, transact, remove },
    contents: { ...contents, join, tidy, drop },
  }
}

function md5(text: string): string {
  return createHash('md5').update(text).digest('hex')
}

async function* once(text: string): AsyncIterable<Uint8Array> {
  yield Buffer.from(text)
}

/** A block's worth, which has come to storage by then. */
async function* broken(): AsyncIterable<Uint8Array> {
  yield Buffer.alloc(limits.fileBlockBytes)
  throw new Error('the sender left')
}
