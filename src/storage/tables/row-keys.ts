import type { Job } from '../../core/jobs/job.ts'
import type { Priority } from '../../core/requests/submission.ts'
import { priorityLines, isPlain } from '../../core/jobs/keys.ts'
import { fingerprint } from '../../core/fingerprint.ts'

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

function lineOf(priority: Priority | null): number {
  return priorityLines.indexOf(priority)
}

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
