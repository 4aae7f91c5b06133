import type { Job, Phase, PhaseKind } from '../../core/jobs/job.ts'
import type { Priority } from '../../core/requests/submission.ts'
import { priorityLines, isPlain } from '../../core/jobs/keys.ts'
import { fingerprint } from '../../core/fingerprint.ts'

/** What the names of index rows begin with, by the phase of their jobs. Only storage knows these words. */
const prefixes: Readonly<Record<PhaseKind, string>> = {
  waiting: 'wait',
  slotted: 'slot',
  running: 'run',
  succeeded: 'done',
  failed: 'fail',
  cancelled: 'gone',
}

/**
 * The one index row of a job; whoever moves the job must delete it, so it is the job's lock.
 * Times are zero-padded microseconds: rows sort by time, those of waiting jobs by priority first.
 */
export function indexRowOf({ key, priority, phase }: Pick<Job, 'key' | 'priority' | 'phase'>): string {
  return indexRow(phase.kind, { at: timeOf(phase), key, priority })
}

/** The first name that can follow this index row. */
export function afterIndexRow(kind: PhaseKind, row: IndexRow): string {
  return `${indexRow(kind, row)}!`
}

function indexRow(kind: PhaseKind, { at, key, priority }: IndexRow): string {
  const line = kind === 'waiting' ? priority : undefined
  return `${indexStart(kind, { line, at })}|${key}`
}

/** Where the index rows of a phase begin, or those of one line of waiting jobs, or those from a time on. */
export function indexStart(
  kind: PhaseKind,
  { line, at }: { readonly line?: Priority | null | undefined; readonly at?: number | undefined } = {},
): string {
  const lineText = line === undefined ? '' : String(priorityLines.indexOf(line))
  return `${prefixes[kind]}:${lineText}${at === undefined ? '' : sortableTime(at)}`
}

/** The first name behind all index rows of a phase. */
export function indexEnd(kind: PhaseKind): string {
  return `${prefixes[kind]};`
}

/** The time by which the index rows of the phase are in order. */
function timeOf(phase: Phase): number {
  switch (phase.kind) {
    case 'waiting':
      return phase.dueAt
    case 'slotted':
      return phase.slotAt
    case 'running':
      return phase.leaseUntil
    case 'succeeded':
    case 'failed':
    case 'cancelled':
      return phase.finishedAt
  }
}

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

const ownLine = 2

export function sortableTime(time: number): string {
  return Math.round(time * 1000)
    .toString()
    .padStart(17, '0')
}

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
