import { z } from 'zod'
import { timeOfId } from '../../core/timed-id.ts'
import { filePurposes, type FileFacts, type StoredFile } from '../../ports/files.ts'
import { parseValues } from '../parse-stored.ts'
import { expiryRow } from './row-keys.ts'
import type { Table } from './table.ts'
import { timeline, type Timeline, type TimelineEntry } from './timeline.ts'

/** The partition whose rows say when to look whether a file, or content that no file came of, is to go. */
export const expiryPartition = 'expiry'

/** What is said of files, beside their contents. */
type FileRecords = {
  /** A file that is there already gets the new facts. */
  put(file: FileFacts & { readonly id: string; readonly sizeBytes: number }): Promise<StoredFile>
  /** Also one that has expired and is not removed yet. */
  get(id: string): Promise<StoredFile | undefined>
  page(
    query: Parameters<Timeline['page']>[0],
  ): Promise<{ readonly files: readonly StoredFile[]; readonly hasMore: boolean }>
  remove(id: string): Promise<boolean>
  watch(id: string, at: number): Promise<void>
  unwatch(id: string, at: number): Promise<void>
}

export function fileRecords(table: Table): FileRecords {
  const line = timeline(table)
  const records: FileRecords = {
    async put({ id, owner, filename, purpose, sizeBytes, expiresAfterMs }) {
      const createdAt = timeOfId(id) ?? 0
      const expiresAt = expiresAfterMs === null ? null : createdAt + expiresAfterMs
      const file: StoredFile = { id, owner, filename, purpose, sizeBytes, createdAt, expiresAt }
      if (expiresAt !== null) await records.watch(id, expiresAt)
      await line.put({ id, owner, values: toValues(file) })
      return file
    },

    async get(id) {
      const entry = await line.get(id)
      return entry && toFile(entry)
    },

    async page(query) {
      const { entries, hasMore } = await line.page(query)
      return { files: entries.map(toFile), hasMore }
    },

    remove: async (id) => line.remove(id),

    async watch(id, at) {
      // A row that is there already says the same.
      await table.transact(expiryPartition, [{ kind: 'insert', row: expiryRow(at, id), values: {} }])
    },

    async unwatch(id, at) {
      await table.transact(expiryPartition, [{ kind: 'delete', row: expiryRow(at, id) }])
    },
  }
  return records
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
  const { expiresAt, ...facts } = parseValues('file', valuesSchema, values)
  return {
    id,
    owner,
    ...facts,
    createdAt: timeOfId(id) ?? 0,
    expiresAt: expiresAt === '' ? null : Number(expiresAt),
  }
}
