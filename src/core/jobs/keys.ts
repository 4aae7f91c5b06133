import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import type { Priority } from '../requests/submission.ts'
import type { Job } from './job.ts'
import { limits } from '../limits.ts'

/** Names of things in storage and URLs. All of them are URL-safe and valid as table keys and blob names. */

/**
 * Where single jobs go: one batch a day, in UTC, for each API key and pool. What belongs to no key, and the first pool,
 * have the plain name.
 */
export function inboxName(
  now: number,
  { line = 'inbox', pool = null, owner = null }: Partial<InboxOf> = {},
): string {
  const day = `${line}-${new Date(now).toISOString().slice(0, 10)}`
  const own = owner === null ? day : `${day}__${owner}`
  if (pool === null) return own
  const name = `${own}_${pool.replaceAll(/[^A-Za-z0-9_-]/g, '-')}`
  return name.length <= limits.batchNameCharsMax ? name : `${own}_${fingerprint(pool).slice(0, 8)}`
}

/** Null: no key; the first pool. Calls that are waited for, `sync`, have a line of their own. */
export type InboxOf = {
  readonly line: 'inbox' | 'sync'
  readonly pool: string | null
  readonly owner: string | null
}

/**
 * Whose inbox it would be, today or on any other day; undefined for any other name. No one else may open a batch of that
 * name: it would get the owner's jobs.
 */
export function ownerOfInbox(batch: string): Pick<InboxOf, 'owner'> | undefined {
  const match = /^(?:inbox|sync)-\d{4}-\d\d-\d\d(?:__([a-z0-9-]+))?(?:_.*)?$/.exec(batch)
  return match === null ? undefined : { owner: match[1] ?? null }
}

/** Whether it is a line of calls that are waited for. */
export function isSyncLine(batch: string): boolean {
  return batch.startsWith('sync-') && ownerOfInbox(batch) !== undefined
}

/**
 * The key of a job within its batch. A plain custom id is its own key; any other is a readable start and a hash, so
 * that no two ids share a key, and none breaks out of a table key, a blob name or a URL.
 */
export function keyOf(origin: {
  readonly kind: 'custom-id' | 'message' | 'idempotency' | 'rejected'
  readonly id: string
}): string {
  const { kind, id } = origin
  if (kind === 'custom-id' && isPlain(id)) return id
  if (kind === 'message' && isPlain(id)) return `msg~${id}`
  const readable = kind === 'custom-id' ? id.replaceAll(/[^A-Za-z0-9]+/g, '-').slice(0, 32) : kind
  return `${readable}~${fingerprint(id)}`
}

/** The id that users poll: batch and key, which no batch name can be mistaken for. */
export function jobId(job: Pick<Job, 'batch' | 'key'>): string {
  return `${job.batch}.${job.key}`
}

export function parseJobId(id: string): Pick<Job, 'batch' | 'key'> | undefined {
  const match = /^([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9._~-]{1,200})$/.exec(id)
  return match?.[1] !== undefined && match[2] !== undefined ? { batch: match[1], key: match[2] } : undefined
}

/**
 * What the paths of an image may be, in the order in which they are tried: the first, and where another job's image has
 * that name already (prefixes are the users' to choose), one that no other job can have, since the name of a first one
 * ends in a number. The same for every attempt, so that a rescue finds what an attempt has left. The extension comes with
 * its dot.
 */
export function imageBlobNames(job: OutputOf, index: number, extension: string): readonly [string, string] {
  const { first, other } = imageBlobStems(job, index)
  return [`${first.slice(0, -1)}${extension}`, `${other.slice(0, -1)}${extension}`]
}

type OutputOf = Pick<Job, 'batch' | 'key'> & Partial<Pick<Job, 'output'>>

/**
 * What these paths start with, whatever their extension. Another key may start with it too (`a-0.b` after `a-0.`), so who
 * lists by it must compare whole names.
 */
export function imageBlobStems(
  { batch, key, output }: OutputOf,
  index: number,
): { readonly first: string; readonly other: string } {
  const stem = `${output ?? `${batch}/${key}`}-${index}`
  return { first: `${stem}.`, other: `${stem}~${fingerprint(jobId({ batch, key }))}.` }
}

/**
 * The one index row of a job; whoever moves the job must delete it, so it is the job's lock.
 * Times are zero-padded microseconds: rows sort by time, those of waiting jobs by priority first.
 */
export function indexRowOf({ key, priority, phase }: Pick<Job, 'key' | 'priority' | 'phase'>): string {
  switch (phase.kind) {
    case 'waiting':
      return `wait:${lineOf(priority)}${sortableTime(phase.dueAt)}|${key}`
    case 'slotted':
      return `slot:${sortableTime(phase.slotAt)}|${key}`
    case 'running':
      return `run:${sortableTime(phase.leaseUntil)}|${key}`
    case 'succeeded':
      return `done:${sortableTime(phase.finishedAt)}|${key}`
    case 'failed':
      return `fail:${sortableTime(phase.finishedAt)}|${key}`
    case 'cancelled':
      return `gone:${sortableTime(phase.finishedAt)}|${key}`
  }
}

export type IndexKind = 'wait' | 'slot' | 'run' | FinalKind

/** Succeeded, failed, cancelled. */
export type FinalKind = 'done' | 'fail' | 'gone'

export const finalKinds: readonly FinalKind[] = ['done', 'fail', 'gone']

export type IndexRow = { readonly at: number; readonly key: string; readonly priority: Priority | null }

export function parseIndexRow(row: string): IndexRow | undefined {
  const match = /^(?:wait:(\d)|slot:|run:|done:|fail:|gone:)(\d{17})\|(.+)$/.exec(row)
  return match?.[2] !== undefined && match[3] !== undefined
    ? {
        at: Number(match[2]) / 1000,
        key: match[3],
        priority: priorityLines[Number(match[1] ?? ownLine)] ?? null,
      }
    : undefined
}

/** In the order in which a batch's jobs go; those without a priority of their own stand with the normal ones. */
export const priorityLines: readonly (Priority | null)[] = ['high', 'normal', null, 'low']

const ownLine = 2

function lineOf(priority: Priority | null): number {
  return priorityLines.indexOf(priority)
}

export function sortableTime(time: number): string {
  return Math.round(time * 1000)
    .toString()
    .padStart(17, '0')
}

/**
 * An id that holds the time at which its thing was made, so that its row in a line of time is found from the id alone.
 * `random` keeps two of one moment apart; only its letters and digits count.
 */
export function timedId(prefix: TimedPrefix, createdAt: number, random: string): string {
  const time = Math.floor(createdAt).toString(36).padStart(timeChars, '0')
  return `${prefix}${time}${random.toLowerCase().replaceAll(/[^0-9a-z]/g, '')}`
}

/** What ids that hold their time begin with. */
export type TimedPrefix = 'file-' | 'batch_' | 'upload_'

/** Milliseconds in base 36 take eight characters until 2059. */
const timeChars = 9

/** When the thing was made, in whole milliseconds; undefined for what is no such id. */
export function timeOfId(id: string): number | undefined {
  const time = /^(?:file-|batch_|upload_)(0[0-9a-z]{8})[0-9a-z]{1,48}$/.exec(id)?.[1]
  return time === undefined ? undefined : Number.parseInt(time, 36)
}

/** The id of the file that an upload becomes: of the time when it is completed, and of the upload, whose name its content has. */
export function fileOfUpload(upload: string, completedAt: number): string {
  return timedId('file-', completedAt, `${uploadMark}${upload.slice('upload_'.length)}`)
}

/** The name under which a file's content is kept: the file's id, or that of the upload that it was. */
export function contentOfFile(file: string): string {
  const upload = /^file-0[0-9a-z]{8}z(0[0-9a-z]{9,40})$/.exec(file)?.[1]
  return upload === undefined ? file : `upload_${upload}`
}

/** No digit in hex, which is what stands there in the ids of all other files. */
const uploadMark = 'z'

/** Where an id stands in a line of time: rows sort by time, upwards or downwards, those of one moment by id. */
export function timelineRow(order: 'asc' | 'desc', id: string, createdAt: number): string {
  const sorted = order === 'asc' ? createdAt : latestTime - createdAt
  return `${order}:${String(sorted).padStart(13, '0')}|${id}`
}

/** All that `timeOfId` answers lies before it. */
const latestTime = 9_999_999_999_999

/** The row that is due at the given time, for what has this id; rows sort by time. */
export function expiryRow(at: number, id: string): string {
  return `${sortableTime(at)}|${id}`
}

export function idOfExpiryRow(row: string): string {
  return row.slice(row.indexOf('|') + 1)
}

/** The partition of what belongs to an API key; table keys refuse some characters, and names of keys may have any. */
export function ownerPartition(owner: string): string {
  return `key:${isPlain(owner) ? owner : `~${fingerprint(owner)}`}`
}

/** Slots carry decimals, to the microsecond that a row key holds. */
export function roundToMicros(time: number): number {
  return Math.round(time * 1000) / 1000
}

/** 128 bits of SHA-256 in hex. */
export function fingerprint(text: string): string {
  return bytesToHex(sha256(utf8ToBytes(text))).slice(0, 32)
}

function isPlain(id: string): boolean {
  return (
    id.length <= limits.plainKeyCharsMax && /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(id) && !id.endsWith('.')
  )
}
