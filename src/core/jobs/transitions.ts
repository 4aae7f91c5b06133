import { limits } from '../limits.ts'
import type { PhaseKind, Job, Image, Usage, Phase } from './job.ts'
import type { Failure } from './failure.ts'

/** Which event leads from which phase to which; the state diagram of ARCHITECTURE.md, held to it by a test. */
export const transitions = {
  slotted: { from: ['waiting'], to: 'slotted' },
  unslotted: { from: ['slotted'], to: 'waiting' },
  claimed: { from: ['slotted'], to: 'running' },
  renewed: { from: ['running'], to: 'running' },
  snoozed: { from: ['running'], to: 'waiting' },
  retried: { from: ['running'], to: 'waiting' },
  succeeded: { from: ['running', 'waiting', 'slotted'], to: 'succeeded' },
  postponed: { from: ['slotted'], to: 'waiting' },
  failed: { from: ['running', 'slotted'], to: 'failed' },
  cancelled: { from: ['waiting', 'slotted'], to: 'cancelled' },
  reopened: { from: ['failed'], to: 'waiting' },
} as const satisfies Record<string, { readonly from: readonly PhaseKind[]; readonly to: PhaseKind }>

export type JobEvent = keyof typeof transitions

/** The slot was given up unused; the job keeps its place in line. */
export function unslotted(job: Job): Job | undefined {
  return enter(job, 'unslotted', { kind: 'waiting', dueAt: job.createdAt })
}

/**
 * Written before the call: an instance that dies in it leaves proof that money may have been spent. The call starts at
 * the slot.
 */
export function claimed(
  job: Job,
  { slotAt, deployment, leaseUntil }: { slotAt: number; deployment: string; leaseUntil: number },
): Job | undefined {
  const next = enter(job, 'claimed', { kind: 'running', leaseUntil })
  return next && { ...next, attempts: job.attempts + 1, slotAt, deployment, startedAt: slotAt }
}

export function renewed(job: Job, { leaseUntil }: { leaseUntil: number }): Job | undefined {
  return enter(job, 'renewed', { kind: 'running', leaseUntil })
}

/** Back to waiting at its old place, at no cost in attempts: nothing was sent, or the model would not take it. */
export function snoozed(job: Job, { requestId }: { requestId?: string | undefined } = {}): Job | undefined {
  const next = enter(withRequestId(job, requestId), 'snoozed', { kind: 'waiting', dueAt: job.createdAt })
  return next && { ...next, attempts: Math.max(0, job.attempts - 1) }
}

/** Another attempt is due. `possiblyPaid`: the call so far may have been billed, so the next one may be a repeat. */
export function retried(
  job: Job,
  {
    dueAt,
    possiblyPaid,
    requestId,
  }: { dueAt: number; possiblyPaid: boolean; requestId?: string | undefined },
): Job | undefined {
  const next = enter(withRequestId(job, requestId), 'retried', { kind: 'waiting', dueAt })
  if (next === undefined || !possiblyPaid) return next
  return { ...withUnsureCost(next), possiblyRepeated: job.possiblyRepeated + 1 }
}

/**
 * What the call is made of could not be had now, so nothing was sent, and no attempt is counted. It is counted by itself:
 * a job whose image cannot be fetched must come to an end.
 */
export function postponed(job: Job, { dueAt }: { dueAt: number }): Job | undefined {
  const next = enter(job, 'postponed', { kind: 'waiting', dueAt })
  return next && { ...next, postponements: job.postponements + 1 }
}

/**
 * An answer counts whenever it comes, also after a rescue has sent the job back to wait: the repeat that was
 * counted then has not taken place.
 */
export function succeeded(
  job: Job,
  result: {
    finishedAt: number
    answeredAt?: number | undefined
    images: readonly Image[]
    usage: Usage
    costMicroUsd: number
    requestId?: string | undefined
  },
): Job | undefined {
  const { finishedAt, answeredAt, images, usage, costMicroUsd } = result
  const next = enter(withRequestId(job, result.requestId), 'succeeded', {
    kind: 'succeeded',
    finishedAt,
    ...(answeredAt === undefined ? {} : { answeredAt }),
    images,
    usage,
    costMicroUsd,
  })
  if (next === undefined || job.phase.kind === 'running') return next
  return {
    ...next,
    possiblyRepeated: Math.max(0, job.possiblyRepeated - 1),
    unsureMicroUsd: Math.max(0, job.unsureMicroUsd - job.upperMicroUsd),
  }
}

export function failed(
  job: Job,
  {
    finishedAt,
    failure,
    requestId,
  }: { finishedAt: number; failure: Failure; requestId?: string | undefined },
): Job | undefined {
  const next = enter(withRequestId(job, requestId), 'failed', { kind: 'failed', finishedAt, failure })
  // Whether a refused call is billed differs from document to document: the cap counts it.
  const isSent = job.phase.kind === 'running'
  const isSure = !isSent || (failure.kind !== 'unknown' && failure.kind !== 'refused')
  return next === undefined || isSure ? next : withUnsureCost(next)
}

/** A call that is under way goes on, and its images are kept: only who has none can be cancelled. */
export function cancelled(
  job: Job,
  { finishedAt, reason }: { finishedAt: number; reason?: string | undefined },
): Job | undefined {
  return enter(job, 'cancelled', { kind: 'cancelled', finishedAt, reason })
}

/**
 * A person asks for a failed job again: it waits at the end of its line, with all its attempts before it. A call whose
 * outcome is unknown may have been paid for, so the next one may be a repeat.
 */
export function reopened(job: Job, { now }: { now: number }): Job | undefined {
  if (job.phase.kind !== 'failed') return undefined
  const { finishedAt, failure } = job.phase
  const isUnknown = failure.kind === 'unknown'
  const next = job.request === null ? undefined : enter(job, 'reopened', { kind: 'waiting', dueAt: now })
  return (
    next && {
      ...next,
      giveUpAt: null,
      attemptsForgiven: job.attempts,
      postponements: 0,
      failedAt: finishedAt,
      possiblyRepeated: job.possiblyRepeated + (isUnknown ? 1 : 0),
      slotAt: null,
      deployment: null,
    }
  )
}

function withUnsureCost(job: Job): Job {
  return { ...job, unsureMicroUsd: job.unsureMicroUsd + job.upperMicroUsd }
}

/** Undefined when the table of transitions has no such step: somebody else moved the job. */
function enter(job: Job, event: JobEvent, phase: Phase): Job | undefined {
  const from: readonly PhaseKind[] = transitions[event].from
  return from.includes(job.phase.kind) ? { ...job, phase } : undefined
}

function withRequestId(job: Job, requestId: string | undefined): Job {
  if (requestId === undefined || job.requestIds.includes(requestId)) return job
  return { ...job, requestIds: [...job.requestIds, requestId].slice(-limits.requestIdsMax) }
}
