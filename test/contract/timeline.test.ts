import { randomUUID } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { timedId } from '../../src/core/timed-id.ts'
import { timeline, type Timeline, type TimelineEntry } from '../../src/storage/tables/timeline.ts'
import { stores } from './stores.ts'

const startAt = Date.UTC(2026, 10, 23, 12)

function entryAt(minute: number, owner: string | null = null): TimelineEntry {
  const id = timedId('file-', startAt + minute * 60_000, randomUUID())
  return { id, owner, values: { minute: String(minute) } }
}

describe.each(stores)('a line of time in $name', ({ makeTable }) => {
  let line: Timeline
  beforeAll(async () => {
    line = timeline(await makeTable())
  })

  async function put(...entries: readonly TimelineEntry[]): Promise<void> {
    for (const entry of entries) await line.put(entry)
  }

  test('an entry is found by its id alone, with its owner and values', async () => {
    const entry = entryAt(1, 'shop')
    await put(entry)
    expect(await line.get(entry.id)).toEqual(entry)
    expect(await line.get(entryAt(1).id)).toBeUndefined()
    expect(await line.get('file-abc')).toBeUndefined()
  })

  test('an entry that is put again has the new values, once', async () => {
    const entry = entryAt(2, 'again')
    await put(entry, entry, { ...entry, values: { minute: 'new' } })
    expect(await line.page({ owner: 'again', limit: 10 })).toEqual({
      entries: [{ ...entry, values: { minute: 'new' } }],
      hasMore: false,
    })
    expect((await line.get(entry.id))?.values).toEqual({ minute: 'new' })
  })

  test('pages go newest first, or oldest first, from behind any id', async () => {
    const entries = [5, 3, 4, 1, 2].map((minute) => entryAt(minute, 'pages'))
    await put(...entries)
    const minutes = async (query: { order?: 'asc' | 'desc'; after?: string; limit: number }) => {
      const { entries: found, hasMore } = await line.page({ owner: 'pages', ...query })
      return [found.map(({ values }) => Number(values['minute'])), hasMore]
    }
    const idOf = (minute: number): string =>
      entries.find(({ values }) => values['minute'] === String(minute))!.id
    expect(await minutes({ limit: 2 })).toEqual([[5, 4], true])
    expect(await minutes({ limit: 2, after: idOf(4) })).toEqual([[3, 2], true])
    expect(await minutes({ limit: 2, after: idOf(2) })).toEqual([[1], false])
    expect(await minutes({ limit: 5 })).toEqual([[5, 4, 3, 2, 1], false])
    expect(await minutes({ limit: 3, order: 'asc' })).toEqual([[1, 2, 3], true])
    expect(await minutes({ limit: 3, order: 'asc', after: idOf(3) })).toEqual([[4, 5], false])
    // Its place is known although it is gone.
    expect(await line.remove(idOf(3))).toBe(true)
    expect(await minutes({ limit: 2, after: idOf(3) })).toEqual([[2, 1], false])
    expect(await minutes({ limit: 2, after: entryAt(3.5).id })).toEqual([[2, 1], false])
    await expect(minutes({ limit: 2, after: 'page 2' })).rejects.toThrow('page 2 holds no time')
  })

  test('those of one moment are all listed, page by page', async () => {
    const entries = Array.from({ length: 7 }, () => entryAt(9, 'moment'))
    await put(...entries)
    const seen: string[] = []
    for (let after: string | undefined, hasMore = true; hasMore;) {
      const page = await line.page({ owner: 'moment', after, limit: 2 })
      seen.push(...page.entries.map(({ id }) => id))
      after = seen.at(-1)
      hasMore = page.hasMore
    }
    expect(seen.toSorted()).toEqual(entries.map(({ id }) => id).toSorted())
  })

  test('an owner sees its own, and whoever names none sees all', async () => {
    const mine = entryAt(11, 'mine')
    const theirs = entryAt(12, 'their/own #1?')
    const nobodys = entryAt(13)
    await put(mine, theirs, nobodys)
    const ids = async (owner?: string) => (await line.page({ owner, limit: 100 })).entries.map(({ id }) => id)
    expect(await ids('mine')).toEqual([mine.id])
    expect(await ids('their/own #1?')).toEqual([theirs.id])
    expect(await ids('all')).toEqual([])
    expect((await ids()).slice(0, 3)).toEqual([nobodys.id, theirs.id, mine.id])
    expect(await line.get(nobodys.id)).toEqual(nobodys)
  })

  test('what was removed is gone from every list', async () => {
    const entry = entryAt(21, 'gone')
    await put(entry)
    expect(await line.remove(entry.id)).toBe(true)
    expect(await line.get(entry.id)).toBeUndefined()
    expect((await line.page({ owner: 'gone', limit: 10 })).entries).toEqual([])
    expect((await line.page({ owner: undefined, limit: 100 })).entries).not.toContainEqual(entry)
    expect(await line.remove(entry.id)).toBe(false)
    expect(await line.remove('file-abc')).toBe(false)
  })
})
