import type { Priority } from '../requests/submission.ts'
import { limits } from '../limits.ts'
import { fingerprint } from '../fingerprint.ts'
import type { Job } from './job.ts'

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

/** In the order in which a batch's jobs go; those without a priority of their own stand with the normal ones. */
export const priorityLines: readonly (Priority | null)[] = ['high', 'normal', null, 'low']

export function isPlain(id: string): boolean {
  return (
    id.length <= limits.plainKeyCharsMax && /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(id) && !id.endsWith('.')
  )
}
