import { createHash } from 'node:crypto'
import { pMapSettled } from 'p-map'
import { fileOfUpload, choosePartsOf, type ChosenParts } from '../../core/upload.ts'
import { timedId, timeOfId } from '../../core/timed-id.ts'
import { fingerprint } from '../../core/fingerprint.ts'
import { limits } from '../../core/limits.ts'
import type { Clock } from '../../ports/clock.ts'
import type { Closed, Completion, StagedPart, Upload, UploadFacts, UploadStore } from '../../ports/uploads.ts'
import { compareAndSet, overtaken } from '../compare-and-set.ts'
import { fileRecords } from '../tables/file-records.ts'
import type { Table } from '../tables/table.ts'
import {
  endOf,
  uploadRows,
  type DueUpload,
  type PartRecord,
  type UploadRecord,
  type UploadState,
} from '../tables/upload-rows.ts'
import type { FileContents } from './file-contents.ts'
import type { StagedRun } from './staged-contents.ts'

/** Uploads swept at a time. */
const sweepsAtOnce = 8

/**
 * Uploads as rows and staged bytes, which wait under the name that the file's content will have: completing one copies
 * nothing. It is completed in four steps: what is made of which parts is written down, the bytes are joined, the file is
 * recorded, the upload is marked. After a death in between, the next request for the same parts goes on from there.
 */
export function uploadStore(parts: {
  readonly table: Table
  readonly contents: FileContents
  readonly clock: Pick<Clock, 'now'>
  readonly newId: () => string
}): UploadStore {
  const { table, contents, clock, newId } = parts
  const rows = uploadRows(table)
  const records = fileRecords(table)

  return {
    async open(facts) {
      const id = timedId('upload_', clock.now(), newId())
      await rows.open(id, facts)
      return pendingUpload(id, facts)
    },

    async get(id) {
      const found = await rows.get(id)
      return found && shown(found)
    },

    async stage({ id, content }) {
      const before = await rows.get(id)
      if (before === undefined) return undefined
      const closed = closedBy(before)
      if (closed !== undefined) return closed
      const held = await contents.held(id)
      if (
        before.parts >= limits.uploadPartsMax ||
        held.sizeBytes >= limits.uploadHeldBytesMax ||
        held.blocks >= limits.uploadHeldBlocksMax
      ) {
        return { kind: 'full' }
      }
      const sizeBytesMax = Math.min(limits.requestFilesBytesMax, before.sizeBytes)
      const staged = await contents.stage({ id, content, sizeBytesMax })
      if (staged === undefined) return { kind: 'too-large', sizeBytesMax }
      const { sizeBytes } = staged
      return { kind: 'staged', sizeBytes, record: async () => recordPart(before, staged) }
    },

    async complete(asked) {
      const { id } = asked
      return compareAndSet(id, async () => {
        const found = await rows.get(id)
        if (found === undefined) return undefined
        const { state } = found
        const isSame = isOf(state, asked)
        if (state.kind === 'completed' && isSame) return { kind: 'completed', upload: await shown(found) }
        const closed = closedBy(found, isSame)
        if (closed !== undefined) return closed
        const parts = await rows.parts(id)
        const chosen = choosePartsOf({ parts, sizeBytes: found.sizeBytes }, asked.partIds)
        if (chosen.kind !== 'chosen') return chosen
        if (state.kind === 'completing') return finish(found, state, chosen)
        const { partIds, md5 } = asked
        const completedAt = Math.floor(clock.now())
        await rows.change(found, {
          state: { kind: 'completing', completedAt, named: markOf(partIds), md5 },
        })
        // Whoever has written it: the next try goes on from what stands there.
        return overtaken
      })
    },

    async cancel(id) {
      return compareAndSet(id, async () => {
        const found = await rows.get(id)
        if (found === undefined) return undefined
        if (found.state.kind === 'cancelled') return { kind: 'cancelled', upload: await shown(found) }
        const closed = closedBy(found)
        if (closed !== undefined) return closed
        if (await rows.change(found, { state: { kind: 'cancelled' } })) await contents.drop(id)
        return overtaken
      })
    },

    async removeExpired() {
      const due = await rows.due(clock.now(), limits.sweptUploadsMax)
      // One that cannot be swept keeps no other.
      const swept = await pMapSettled(due, sweep, { concurrency: sweepsAtOnce })
      const faults = swept.flatMap((each): unknown[] => (each.status === 'rejected' ? [each.reason] : []))
      if (faults.length > 0) throw new AggregateError(faults, `${faults.length} upload(s) could not be swept`)
      return swept.filter((each) => each.status === 'fulfilled' && each.value).length
    },
  }

  async function recordPart(
    before: UploadRecord,
    { run, sizeBytes }: StagedRun,
  ): ReturnType<StagedPart['record']> {
    const { id, completions } = before
    const part: PartRecord = { id: partId(newId()), createdAt: clock.now(), run, sizeBytes }
    return compareAndSet(id, async (tries) => {
      const now = await rows.get(id)
      if (now === undefined) return undefined
      // Also when the answer to that was lost.
      if (tries > 0 && (await rows.hasPart(id, part.id))) return { kind: 'added', part }
      const closed = closedBy(now)
      if (closed !== undefined) return closed
      // Somebody tried to complete it meanwhile, and what had come of this part was lost.
      if (now.completions > completions) return { kind: 'closed', why: 'completing' }
      if (now.parts >= limits.uploadPartsMax) return { kind: 'full' }
      return (await rows.change(now, { part })) ? { kind: 'added', part } : overtaken
    })
  }

  async function finish(
    found: UploadRecord,
    state: Extract<UploadState, { kind: 'completing' | 'completed' }>,
    { runs, others }: ChosenParts,
  ): ReturnType<UploadStore['complete']> {
    const { id, owner, filename, purpose, sizeBytes, fileExpiresAfterMs: expiresAfterMs } = found
    const { completedAt, md5 } = state
    if (md5 !== null) {
      // Bytes can be read once they are joined. No part is lost by it, for the sum may be wrong; unless it was found
      // right before, by somebody who died then.
      const isJoined = (await contents.join(id, [...runs, ...others])) || (await contents.join(id, runs))
      if (!isJoined) return finishedByOthers(id)
      const got = await md5Of(await contents.read(id, { from: 0, before: sizeBytes }))
      if (got !== md5) {
        await rows.change(found, { state: { kind: 'pending' } })
        return { kind: 'wrong-md5', md5: got }
      }
    }
    if (!(await contents.join(id, runs))) return finishedByOthers(id)
    const fileId = fileOfUpload(id, completedAt)
    const file = await records.put({ id: fileId, owner, filename, purpose, sizeBytes, expiresAfterMs })
    // Somebody else may have marked it: with the same.
    await rows.change(found, { state: { ...state, kind: 'completed' } })
    return { kind: 'completed', upload: { ...pendingUpload(id, found), status: 'completed', file } }
  }

  /** Two that complete it with the same parts side by side may find that the other has dropped what is not needed. */
  async function finishedByOthers(id: string): ReturnType<UploadStore['complete']> {
    const found = await rows.get(id)
    if (found === undefined) return undefined
    if (found.state.kind !== 'completed') return { kind: 'closed', why: 'completing' }
    return { kind: 'completed', upload: await shown(found) }
  }

  /** Of one that became a file only what else was sent. */
  async function sweep(due: DueUpload): Promise<boolean> {
    const { id } = due
    const found = await rows.get(id)
    const fileId = found && fileIdOf(found)
    const isFile = fileId !== undefined && (await records.get(fileId)) !== undefined
    // Its row goes last: where there is none, all else has been done.
    if (isFile) await contents.tidy(id)
    else if (found !== undefined) await contents.drop(id)
    await rows.remove(due)
    return found !== undefined && !isFile
  }

  function closedBy({ id, state }: UploadRecord, isSame = false): Closed | undefined {
    if (state.kind === 'completed' || state.kind === 'cancelled') return { kind: 'closed', why: state.kind }
    if (endOf(id) <= clock.now()) return { kind: 'closed', why: 'expired' }
    return state.kind === 'pending' || isSame ? undefined : { kind: 'closed', why: 'completing' }
  }

  async function shown(found: UploadRecord): Promise<Upload> {
    const { id, state } = found
    const upload = pendingUpload(id, found)
    switch (state.kind) {
      case 'cancelled':
        return { ...upload, status: 'cancelled' }
      case 'completed': {
        const file = await records.get(fileOfUpload(id, state.completedAt))
        const isThere = file !== undefined && (file.expiresAt ?? Infinity) > clock.now()
        return { ...upload, status: 'completed', file: isThere ? file : null }
      }
      case 'pending':
      case 'completing':
        return upload.expiresAt <= clock.now() ? { ...upload, status: 'expired' } : upload
    }
  }
}

function pendingUpload(id: string, facts: UploadFacts): Upload {
  const { owner, filename, purpose, sizeBytes, fileExpiresAfterMs } = facts
  const kept = { owner, filename, purpose, sizeBytes, fileExpiresAfterMs }
  return { id, ...kept, createdAt: timeOfId(id) ?? 0, expiresAt: endOf(id), status: 'pending', file: null }
}

function fileIdOf({ id, state }: UploadRecord): string | undefined {
  return state.kind === 'completing' || state.kind === 'completed'
    ? fileOfUpload(id, state.completedAt)
    : undefined
}

/** Whether it is being completed, or was, as is asked. Without a sum any will do. */
function isOf(state: UploadState, { partIds, md5 }: Completion): boolean {
  if (state.kind === 'pending' || state.kind === 'cancelled') return false
  return state.named === markOf(partIds) && (md5 === null || md5 === state.md5)
}

/** A property holds 32K characters: fewer than the names of a thousand parts. */
function markOf(partIds: readonly string[]): string {
  return fingerprint(partIds.join(','))
}

function partId(random: string): string {
  return `part_${random.toLowerCase().replaceAll(/[^0-9a-z]/g, '')}`
}

async function md5Of(content: AsyncIterable<Uint8Array> | undefined): Promise<string> {
  const hash = createHash('md5')
  for await (const chunk of content ?? []) hash.update(chunk)
  return hash.digest('hex')
}
