import pMap from 'p-map'
import { contentOfFile } from '../../core/upload.ts'
import { expiryRow, idOfExpiryRow } from '../tables/row-keys.ts'
import { timedId, timeOfId } from '../../core/timed-id.ts'
import { limits } from '../../core/limits.ts'
import type { Clock } from '../../ports/clock.ts'
import type { FileStore, StoredFile } from '../../ports/files.ts'
import { expiryPartition, fileRecords } from '../tables/file-records.ts'
import type { Entity, Table } from '../tables/table.ts'
import type { FileContents } from './file-contents.ts'

/** Content whose record has not followed by then was left by an instance that died; no upload lasts as long. */
const recordDueMs = 24 * 3_600_000

/** Files removed at a time. */
const removalsAtOnce = 8

/**
 * Files as contents and records. Content is written first and removed first, so a record always has had its content, and
 * content without a record is found by its expiry row.
 */
export function fileStore(parts: {
  readonly table: Table
  readonly contents: FileContents
  readonly clock: Pick<Clock, 'now'>
  readonly newId: () => string
}): FileStore {
  const { table, contents, clock, newId } = parts
  const records = fileRecords(table)

  const store: FileStore = {
    async keep({ content, sizeBytesMax, id = timedId('file-', clock.now(), newId()) }) {
      const recordDueAt = clock.now() + recordDueMs
      await records.watch(id, recordDueAt)
      const heard = hearing(content)
      const sizeBytes = await contents
        .write({ id, content: heard.content, sizeBytesMax })
        .catch(async (error: unknown) => {
          // What its sender has broken off is not there; of what storage has broken off nobody can know.
          if (heard.isBroken()) await records.unwatch(id, recordDueAt)
          throw error
        })
      if (sizeBytes === undefined) {
        await records.unwatch(id, recordDueAt)
        return { kind: 'too-large' }
      }
      return {
        kind: 'kept',
        sizeBytes,
        record: async (facts) => records.put({ id, sizeBytes, ...facts }),
        async discard() {
          await contents.remove(id)
          await records.unwatch(id, recordDueAt)
        },
      }
    },

    async save({ id, content, sizeBytesMax, ...facts }) {
      const kept = await store.keep({ id, content, sizeBytesMax })
      return kept.kind === 'too-large' ? kept : { kind: 'saved', file: await kept.record(facts) }
    },

    async get(id) {
      const file = await records.get(id)
      return file === undefined || isExpired(file) ? undefined : file
    },

    async list({ owner, purpose, order, after, limit }) {
      const files: StoredFile[] = []
      let from = after
      for (let read = 0; read < limits.fileRowsReadMax; read += limits.fileRowsAtOnce) {
        const page = await records.page({ owner, order, after: from, limit: limits.fileRowsAtOnce })
        const found = page.files.filter((file) => !isExpired(file))
        files.push(...found.filter((file) => purpose === undefined || file.purpose === purpose))
        const hasMore = files.length > limit
        const shown = files.slice(0, limit)
        if (hasMore || !page.hasMore) return { files: shown, hasMore, lastId: shown.at(-1)?.id }
        from = page.files.at(-1)?.id
      }
      return { files, hasMore: true, lastId: from }
    },

    read: async (id, range) => contents.read(contentOfFile(id), range),

    link: async (id, facts) => contents.link(contentOfFile(id), facts),

    async remove(id) {
      if (timeOfId(id) === undefined) return false
      await contents.remove(contentOfFile(id))
      return records.remove(id)
    },

    async removeExpired() {
      const before = expiryRow(clock.now(), '')
      const due = await table.range({
        partition: expiryPartition,
        from: '0',
        before,
        limit: limits.expiredFilesMax,
      })
      let removed = 0
      const look = async ({ row, version }: Entity): Promise<void> => {
        const id = idOfExpiryRow(row)
        const file = await records.get(id)
        // It may have been made again, with a later end.
        if (file === undefined || isExpired(file)) {
          if (await contents.remove(contentOfFile(id))) removed += 1
          await records.remove(id)
        }
        await table.remove({ partition: expiryPartition, row, version })
      }
      await pMap(due, look, { concurrency: removalsAtOnce })
      return removed
    },
  }
  return store

  function isExpired({ expiresAt }: StoredFile): boolean {
    return expiresAt !== null && expiresAt <= clock.now()
  }
}

/** Tells whether it was the content itself that came to no end. */
function hearing(content: AsyncIterable<Uint8Array>): {
  readonly content: AsyncIterable<Uint8Array>
  readonly isBroken: () => boolean
} {
  let isBroken = false
  async function* chunks(): AsyncIterable<Uint8Array> {
    try {
      yield* content
    } catch (error) {
      isBroken = true
      throw error
    }
  }
  return { content: chunks(), isBroken: () => isBroken }
}
