import { z } from 'zod'
import { expiryRow, idOfExpiryRow, timedId, timeOfId } from '../core/keys.ts'
import { limits } from '../core/limits.ts'
import { filePurposes, type Clock, type FileStore, type StoredFile } from '../ports.ts'
import type { FileContents } from './file-contents.ts'
import type { Table } from './table.ts'
import { timeline, type TimelineEntry } from './timeline.ts'

/** The partition whose rows say when to look whether a file, or content that no file came of, is to go. */
const expiry = 'expiry'

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
  const line = timeline(table)

  const store: FileStore = {
    async keep({ content, sizeBytesMax, id = timedId('file-', clock.now(), newId()) }) {
      const recordDueAt = clock.now() + recordDueMs
      await watch(id, recordDueAt)
      const heard = hearing(content)
      const sizeBytes = await contents
        .write({ id, content: heard.content, sizeBytesMax })
        .catch(async (error: unknown) => {
          // What its sender has broken off is not there; of what storage has broken off nobody can know.
          if (heard.isBroken()) await unwatch(id, recordDueAt)
          throw error
        })
      if (sizeBytes === undefined) {
        await unwatch(id, recordDueAt)
        return { kind: 'too-large' }
      }
      return {
        kind: 'kept',
        sizeBytes,
        async record({ owner, filename, purpose, expiresAfterMs }) {
          const createdAt = timeOfId(id) ?? clock.now()
          const expiresAt = expiresAfterMs === null ? null : createdAt + expiresAfterMs
          const file: StoredFile = { id, owner, filename, purpose, sizeBytes, createdAt, expiresAt }
          if (expiresAt !== null) await watch(id, expiresAt)
          await line.put({ id, owner, values: toValues(file) })
          return file
        },
        async discard() {
          await contents.remove(id)
          await unwatch(id, recordDueAt)
        },
      }
    },

    async save({ id, content, sizeBytesMax, ...facts }) {
      const kept = await store.keep({ id, content, sizeBytesMax })
      return kept.kind === 'too-large' ? kept : { kind: 'saved', file: await kept.record(facts) }
    },

    async get(id) {
      const entry = await line.get(id)
      const file = entry && toFile(entry)
      return file === undefined || isExpired(file) ? undefined : file
    },

    async list({ owner, purpose, order, after, limit }) {
      const files: StoredFile[] = []
      let from = after
      for (let read = 0; read < limits.fileRowsReadMax; read += limits.fileRowsAtOnce) {
        const page = await line.page({ owner, order, after: from, limit: limits.fileRowsAtOnce })
        const found = page.entries.map(toFile).filter((file) => !isExpired(file))
        files.push(...found.filter((file) => purpose === undefined || file.purpose === purpose))
        const hasMore = files.length > limit
        const shown = files.slice(0, limit)
        if (hasMore || !page.hasMore) return { files: shown, hasMore, lastId: shown.at(-1)?.id }
        from = page.entries.at(-1)?.id
      }
      return { files, hasMore: true, lastId: from }
    },

    read: async (id, range) => contents.read(id, range),

    link: async (id, facts) => contents.link(id, facts),

    async remove(id) {
      if (timeOfId(id) === undefined) return false
      await contents.remove(id)
      return line.remove(id)
    },

    async removeExpired() {
      const before = expiryRow(clock.now(), '')
      const due = await table.range({ partition: expiry, from: '0', before, limit: limits.expiredFilesMax })
      let removed = 0
      for (let first = 0; first < due.length; first += removalsAtOnce) {
        const done = due.slice(first, first + removalsAtOnce).map(async ({ row, version }) => {
          const id = idOfExpiryRow(row)
          const entry = await line.get(id)
          // It may have been made again, with a later end.
          if (entry === undefined || isExpired(toFile(entry))) {
            if (await contents.remove(id)) removed += 1
            await line.remove(id)
          }
          await table.remove({ partition: expiry, row, version })
        })
        await Promise.all(done)
      }
      return removed
    },
  }
  return store

  async function watch(id: string, at: number): Promise<void> {
    // A row that is there already says the same.
    await table.transact(expiry, [{ kind: 'insert', row: expiryRow(at, id), values: {} }])
  }

  async function unwatch(id: string, at: number): Promise<void> {
    await table.transact(expiry, [{ kind: 'delete', row: expiryRow(at, id) }])
  }

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

const valuesSchema = z.object({
  filename: z.string(),
  purpose: z.enum(filePurposes),
  sizeBytes: z.coerce.number(),
  expiresAt: z.string(),
})

function toValues({ filename, purpose, sizeBytes, expiresAt }: StoredFile): Record<string, string> {
  return { filename, purpose, sizeBytes: String(sizeBytes), expiresAt: String(expiresAt ?? '') }
}

function toFile({ id, owner, values }: TimelineEntry): StoredFile {
  const { expiresAt, ...facts } = valuesSchema.parse(values)
  return {
    id,
    owner,
    ...facts,
    createdAt: timeOfId(id) ?? 0,
    expiresAt: expiresAt === '' ? null : Number(expiresAt),
  }
}
