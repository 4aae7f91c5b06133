import { beforeAll, describe, expect, test } from 'vitest'
import type { Entity, Table, Write } from '../../src/storage/tables/table.ts'
import { stores, uniqueName } from './stores.ts'

describe.each(stores)('a table in $name', ({ makeTable }) => {
  let table: Table
  beforeAll(async () => {
    table = await makeTable()
  })

  const insert = (row: string, value = 'one'): Write => ({ kind: 'insert', row, values: { value } })

  async function all(partition: string): Promise<readonly Entity[]> {
    return table.range({ partition, from: ' ', before: '~~', limit: 5_000 })
  }

  /** A partition with these rows, and their versions in the order of the names. */
  async function partitionWith(
    ...names: string[]
  ): Promise<{ partition: string; versions: readonly string[] }> {
    const partition = uniqueName('p')
    const result = await table.transact(
      partition,
      names.map((row) => insert(row)),
    )
    if (result.kind === 'conflict') throw new Error('a new partition has rows')
    return { partition, versions: result.versions }
  }

  test('what was inserted is there, with the version that was answered', async () => {
    const { partition, versions } = await partitionWith('a')
    expect(await table.get({ partition, row: 'a' })).toEqual({
      row: 'a',
      version: versions[0],
      values: { value: 'one' },
    })
    expect(await table.get({ partition, row: 'b' })).toBeUndefined()
    expect(await table.get({ partition: uniqueName('p'), row: 'a' })).toBeUndefined()
  })

  test('any text comes back as it was', async () => {
    const partition = uniqueName('p')
    const value = 'line\u2028separator \u2029 "quoted" \\ \n \t {braces} \ue000 \ue0008 日本 🦊 \u0000'
    await table.transact(partition, [insert('a', value), insert('b', 'two')])
    expect((await table.get({ partition, row: 'a' }))?.values).toEqual({ value })
  })

  test('inserting what is there is a conflict', async () => {
    const { partition } = await partitionWith('a')
    const result = await table.transact(partition, [insert('b'), insert('a', 'two')])
    expect(result).toEqual({ kind: 'conflict', conflictAt: 1 })
    expect((await all(partition)).map(({ row, values }) => [row, values])).toEqual([['a', { value: 'one' }]])
  })

  test('a merge keeps what it does not name, and changes the version', async () => {
    const { partition, versions } = await partitionWith('a')
    const result = await table.transact(partition, [
      { kind: 'merge', row: 'a', values: { other: 'two' }, version: versions[0] },
    ])
    const after = await table.get({ partition, row: 'a' })
    expect(after?.values).toEqual({ value: 'one', other: 'two' })
    expect(after?.version).not.toBe(versions[0])
    expect(result).toEqual({ kind: 'committed', versions: [after?.version] })
  })

  test('a merge without a version takes any state, but not none', async () => {
    const { partition } = await partitionWith('a')
    const merge = (row: string): Write => ({ kind: 'merge', row, values: { value: 'two' } })
    expect((await table.transact(partition, [merge('a')])).kind).toBe('committed')
    expect(await table.transact(partition, [merge('missing')])).toEqual({ kind: 'conflict', conflictAt: 0 })
  })

  test('one stale version undoes the whole transaction, and is named', async () => {
    const { partition, versions } = await partitionWith('a', 'b', 'c')
    await table.transact(partition, [{ kind: 'merge', row: 'b', values: { value: 'two' } }])
    const before = await all(partition)
    const result = await table.transact(partition, [
      { kind: 'merge', row: 'a', values: { value: 'three' }, version: versions[0] },
      { kind: 'delete', row: 'c' },
      { kind: 'merge', row: 'b', values: { value: 'three' }, version: versions[1] },
      insert('d'),
    ])
    expect(result).toEqual({ kind: 'conflict', conflictAt: 2 })
    expect(await all(partition)).toEqual(before)
  })

  test('deleting what is gone is a conflict', async () => {
    const { partition } = await partitionWith('a', 'b')
    expect((await table.transact(partition, [{ kind: 'delete', row: 'a' }])).kind).toBe('committed')
    const again: Write[] = [
      { kind: 'merge', row: 'b', values: { value: 'two' } },
      { kind: 'delete', row: 'a' },
    ]
    expect(await table.transact(partition, again)).toEqual({ kind: 'conflict', conflictAt: 1 })
    expect((await table.get({ partition, row: 'b' }))?.values).toEqual({ value: 'one' })
  })

  test('a row is removed only at the version it was read at', async () => {
    const { partition, versions } = await partitionWith('a')
    await table.transact(partition, [{ kind: 'merge', row: 'a', values: { value: 'two' } }])
    expect(await table.remove({ partition, row: 'a', version: versions[0]! })).toBe('conflict')
    const { version } = (await table.get({ partition, row: 'a' }))!
    expect(await table.remove({ partition, row: 'a', version })).toBe('removed')
    expect(await table.get({ partition, row: 'a' })).toBeUndefined()
    expect(await table.remove({ partition, row: 'a', version })).toBe('conflict')
  })

  test('a transaction holds a hundred writes and no more', async () => {
    const partition = uniqueName('p')
    const inserts = (count: number): Write[] =>
      Array.from({ length: count }, (_, index) => insert(`row-${index}`))
    await expect(table.transact(partition, inserts(101))).rejects.toThrow()
    expect(await all(partition)).toEqual([])
    expect((await table.transact(partition, inserts(100))).kind).toBe('committed')
  })

  test('two writes to one row in one transaction are refused', async () => {
    const { partition } = await partitionWith('a')
    const twice: Write[] = [
      { kind: 'merge', row: 'a', values: { value: 'two' } },
      { kind: 'merge', row: 'a', values: { value: 'three' } },
    ]
    await expect(table.transact(partition, twice)).rejects.toThrow()
  })

  test('of two that change the same state, one wins', async () => {
    const { partition, versions } = await partitionWith('a')
    const results = await Promise.all(
      Array.from({ length: 8 }, async (_, index) =>
        table.transact(partition, [
          { kind: 'merge', row: 'a', values: { value: `${index}` }, version: versions[0] },
        ]),
      ),
    )
    expect(results.filter(({ kind }) => kind === 'committed')).toHaveLength(1)
  })

  test('a range runs from its start up to, and without, its end, in the order of characters', async () => {
    const names = [
      'wait:2|a',
      'wait:10|b',
      'wait:1|~',
      'wait:1|B',
      'wait:1|a',
      'wait;',
      'run:1|x',
      "wait:1|o'k",
    ]
    const { partition } = await partitionWith(...names)
    const range = async (from: string, before: string, limit = 100): Promise<string[]> =>
      (await table.range({ partition, from, before, limit })).map(({ row }) => row)
    expect(await range('wait:', 'wait;')).toEqual([
      'wait:10|b',
      'wait:1|B',
      'wait:1|a',
      "wait:1|o'k",
      'wait:1|~',
      'wait:2|a',
    ])
    expect(await range('wait:1|a', 'wait:2|a')).toEqual(['wait:1|a', "wait:1|o'k", 'wait:1|~'])
    expect(await range('wait:', 'wait;', 2)).toEqual(['wait:10|b', 'wait:1|B'])
    expect(await range('x', 'y')).toEqual([])
  })

  test('a range of names leaves the values out', async () => {
    const { partition } = await partitionWith('a', 'b')
    const found = await table.range({ partition, from: 'a', before: 'z', limit: 5, only: [] })
    expect(found.map(({ row, values }) => [row, values])).toEqual([
      ['a', {}],
      ['b', {}],
    ])
  })

  test('a range may be of some values', async () => {
    const partition = uniqueName('p')
    await table.transact(partition, [
      { kind: 'insert', row: 'a', values: { one: '1', two: '2', three: '3' } },
    ])
    const [found] = await table.range({
      partition,
      from: 'a',
      before: 'b',
      limit: 5,
      only: ['one', 'three', 'x'],
    })
    expect(found?.values).toEqual({ one: '1', three: '3' })
  })

  test('a range may be longer than a page of the service', async () => {
    const partition = uniqueName('p')
    const names = Array.from({ length: 1_200 }, (_, index) => `row-${String(index).padStart(4, '0')}`)
    for (let first = 0; first < names.length; first += 100) {
      await table.transact(
        partition,
        names.slice(first, first + 100).map((row) => insert(row)),
      )
    }
    const found = await table.range({ partition, from: 'row', before: 'rox', limit: 1_150 })
    expect(found.map(({ row }) => row)).toEqual(names.slice(0, 1_150))
  })

  test('values keep every character', async () => {
    const partition = uniqueName('p')
    const value = `"quotes", 'single', \\ back, \n\t lines, ${'猫🐈'.repeat(1_000)}, é, \u0085`
    await table.transact(partition, [{ kind: 'insert', row: 'a', values: { value, empty: '' } }])
    expect((await table.get({ partition, row: 'a' }))?.values).toEqual({ value, empty: '' })
  })
})
