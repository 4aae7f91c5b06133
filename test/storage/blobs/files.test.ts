import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { timedId } from '../../../src/core/timed-id.ts'
import { timelineRow } from '../../../src/storage/tables/row-keys.ts'
import { limits } from '../../../src/core/limits.ts'
import { fileStore } from '../../../src/storage/blobs/files.ts'
import type { Entity, RangeQuery } from '../../../src/storage/tables/table.ts'
import { memoryFileContents } from '../../support/memory-file-contents.ts'
import { memoryTable } from '../../support/memory-table.ts'

const startAt = Date.UTC(2026, 10, 23)

/** A line of more images than one list goes through, and then a batch file. */
const rows = Array.from({ length: limits.fileRowsReadMax + 10 }, (_, index): Entity => {
  const id = timedId('file-', startAt + index, 'x')
  const purpose = index === limits.fileRowsReadMax + 5 ? 'batch' : 'vision'
  const values = { owner: 'shop', filename: 'a', purpose, sizeBytes: '1', expiresAt: '' }
  return { row: timelineRow('asc', id, startAt + index), version: '1', values }
})

async function range({ from, before, limit }: RangeQuery): Promise<readonly Entity[]> {
  let first = 0
  for (let end = rows.length; first < end;) {
    const middle = (first + end) >> 1
    if (rows[middle]!.row < from) first = middle + 1
    else end = middle
  }
  return rows.slice(first, first + limit).filter(({ row }) => row < before)
}

test('a list that was broken off on its way past other files says so, and from where to go on', async () => {
  const files = fileStore({
    table: { ...memoryTable(), range },
    contents: memoryFileContents(),
    clock: { now: () => startAt },
    newId: randomUUID,
  })
  const query = { owner: 'shop', purpose: 'batch', order: 'asc', limit: 10 } as const
  const first = await files.list(query)
  expect(first).toMatchObject({ files: [], hasMore: true })
  const second = await files.list({ ...query, after: first.lastId })
  expect(second.files).toHaveLength(1)
  expect(second).toMatchObject({ hasMore: false, lastId: second.files[0]!.id })
})
