import { z } from 'zod'
import { timeOfId } from '../../core/timed-id.ts'
import { limits } from '../../core/limits.ts'
import { piecesOf } from '../../core/pieces.ts'
import { timing } from '../../core/timing.ts'
import type { Part } from '../../core/upload.ts'
import type { UploadFacts, UploadPart } from '../../ports/uploads.ts'
import { parseValues } from '../parse-stored.ts'
import { expiryRow, idOfExpiryRow } from './row-keys.ts'
import type { Entity, Table, Values, Write } from './table.ts'

/** An upload as its row has it. */
export type UploadRecord = UploadFacts & {
  readonly id: string
  readonly version: string
  readonly state: UploadState
  /** Parts that were recorded. */
  readonly parts: number
  /** How often somebody has begun to complete it. Bytes that wait are lost then, but for those of recorded parts. */
  readonly completions: number
}

/** `completing` says once and for all what is made of which parts, so that whoever goes on comes to the same. */
export type UploadState =
  | { readonly kind: 'pending' }
  | { readonly kind: 'cancelled' }
  | {
      readonly kind: 'completing' | 'completed'
      readonly completedAt: number
      /** Stands for the ids of the parts in their order. */
      readonly named: string
      readonly md5: string | null
    }

export type PartRecord = UploadPart & Part

type Changes = { readonly state?: UploadState; readonly part?: PartRecord }

/** The rows of uploads: each has a partition of its own, `upload:<id>`. */
type UploadRows = {
  /** The row that says when to sweep it is written first: whatever follows, nothing of it is left for ever. */
  open(id: string, facts: UploadFacts): Promise<void>
  get(id: string): Promise<UploadRecord | undefined>
  /** False when somebody else has changed it since it was read, or this did and the answer was lost. */
  change(before: UploadRecord, changes: Changes): Promise<boolean>
  parts(id: string): Promise<readonly PartRecord[]>
  hasPart(id: string, partId: string): Promise<boolean>
  /** Those whose time was over before the given one. */
  due(before: number, limit: number): Promise<readonly DueUpload[]>
  /** Takes all rows away; what is broken off is done by the next one who finds it due. */
  remove(due: DueUpload): Promise<void>
}

export type DueUpload = { readonly id: string; readonly row: string; readonly version: string }

/** Apart from that of files: what is due is something else there. */
const expiry = 'upload-expiry'

const uploadRow = 'upload'

export function uploadRows(table: Table): UploadRows {
  return {
    async open(id, facts) {
      const dueAt = endOf(id) + timing.uploadSweepMs
      // Ids are given once: where a row is there already, this was sent twice.
      await table.transact(expiry, [{ kind: 'insert', row: expiryRow(dueAt, id), values: {} }])
      const values = {
        ...factValues(facts),
        ...stateValues({ kind: 'pending' }),
        parts: '0',
        completions: '0',
      }
      await table.transact(partitionOf(id), [{ kind: 'insert', row: uploadRow, values }])
    },

    async get(id) {
      if (!id.startsWith('upload_') || timeOfId(id) === undefined) return undefined
      const entity = await table.get({ partition: partitionOf(id), row: uploadRow })
      return entity && toRecord(id, entity)
    },

    async change({ id, version, parts, completions }, { state, part }) {
      const isBegun = state?.kind === 'completing'
      const values = {
        ...(state === undefined ? {} : stateValues(state)),
        ...(part === undefined ? {} : { parts: String(parts + 1) }),
        ...(isBegun ? { completions: String(completions + 1) } : {}),
      }
      const writes: Write[] = [{ kind: 'merge', row: uploadRow, values, version }]
      if (part !== undefined) writes.push({ kind: 'insert', row: partRow(part.id), values: partValues(part) })
      return (await table.transact(partitionOf(id), writes)).kind === 'committed'
    },

    async parts(id) {
      const range = { from: partRow(''), before: 'part;', limit: limits.uploadPartsMax }
      const found = await table.range({ partition: partitionOf(id), ...range })
      return found.map(toPart)
    },

    async hasPart(id, partId) {
      return (await table.get({ partition: partitionOf(id), row: partRow(partId) })) !== undefined
    },

    async due(before, limit) {
      const range = { from: '0', before: expiryRow(before, ''), limit }
      const found = await table.range({ partition: expiry, ...range })
      return found.map(({ row, version }) => ({ id: idOfExpiryRow(row), row, version }))
    },

    async remove({ id, row, version }) {
      const partition = partitionOf(id)
      // The upload's own row is the last: while it is there its parts are looked for again.
      const all = await table.range({
        partition,
        from: partRow(''),
        before: '~',
        limit: limits.uploadPartsMax + 1,
      })
      for (const piece of piecesOf(all, limits.transactionEntitiesMax)) {
        const deleted = await table.transact(
          partition,
          piece.map((each) => ({ kind: 'delete', row: each.row })),
        )
        if (deleted.kind === 'conflict') return
      }
      await table.remove({ partition: expiry, row, version })
    },
  }
}

/** When it expires, which is in its id. */
export function endOf(id: string): number {
  return (timeOfId(id) ?? 0) + timing.uploadMsMax
}

function partitionOf(id: string): string {
  return `upload:${id}`
}

function partRow(partId: string): string {
  return `part:${partId}`
}

const recordSchema = z.object({
  owner: z.string(),
  filename: z.string(),
  purpose: z.enum(['batch', 'vision']),
  sizeBytes: z.coerce.number(),
  fileExpiresAfterMs: z.string(),
  state: z.enum(['pending', 'cancelled', 'completing', 'completed']),
  completedAt: z.coerce.number(),
  named: z.string(),
  md5: z.string(),
  parts: z.coerce.number(),
  completions: z.coerce.number(),
})

function factValues({ owner, filename, purpose, sizeBytes, fileExpiresAfterMs }: UploadFacts): Values {
  return {
    owner: owner ?? '',
    filename,
    purpose,
    sizeBytes: String(sizeBytes),
    fileExpiresAfterMs: String(fileExpiresAfterMs ?? ''),
  }
}

function stateValues(state: UploadState): Values {
  if (state.kind === 'pending' || state.kind === 'cancelled') {
    return { state: state.kind, completedAt: '', named: '', md5: '' }
  }
  const { kind, completedAt, named, md5 } = state
  return { state: kind, completedAt: String(completedAt), named, md5: md5 ?? '' }
}

function toRecord(id: string, { version, values }: Entity): UploadRecord {
  const { owner, fileExpiresAfterMs, state, completedAt, named, md5, ...facts } = parseValues(
    'upload',
    recordSchema,
    values,
  )
  return {
    id,
    version,
    ...facts,
    owner: owner === '' ? null : owner,
    fileExpiresAfterMs: fileExpiresAfterMs === '' ? null : Number(fileExpiresAfterMs),
    state:
      state === 'pending' || state === 'cancelled'
        ? { kind: state }
        : { kind: state, completedAt, named, md5: md5 === '' ? null : md5 },
  }
}

const partSchema = z.object({ run: z.string(), sizeBytes: z.coerce.number(), createdAt: z.coerce.number() })

function partValues({ run, sizeBytes, createdAt }: PartRecord): Values {
  return { run, sizeBytes: String(sizeBytes), createdAt: String(createdAt) }
}

function toPart({ row, values }: Entity): PartRecord {
  return { id: row.slice(partRow('').length), ...parseValues('part', partSchema, values) }
}
