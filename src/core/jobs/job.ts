import type { Failure, OnUnknown } from './failure.ts'
import type { Priority } from '../requests/submission.ts'
import { limits } from '../limits.ts'
import type { ImageRequest } from '../requests/submission.ts'

/** One request to the model and what became of it. Times are epoch milliseconds; slots carry decimals. */
export type Job = {
  readonly batch: string
  readonly key: string
  /** The pool of deployments that it draws on, the same for all jobs of a batch. */
  readonly pool: string
  readonly customId: string | null
  /** What the names of its images start with; null: its batch and key. */
  readonly output: string | null
  /** What follows a call without an answer; null: as the settings have it. */
  readonly onUnknown: OnUnknown | null
  /** Null: its batch's. */
  readonly priority: Priority | null
  /** The most that one call of it can cost. */
  readonly upperMicroUsd: number
  /** Null only for a message that was no valid job. */
  readonly request: ImageRequest | null
  readonly metadata: Readonly<Record<string, string>> | null
  /** The beginning of a message that was no valid job, so that its sender can find it. */
  readonly input: string | null
  readonly createdAt: number
  /** After this time nobody waits for it any more, and it is not called; null: it is called whenever its turn comes. */
  readonly giveUpAt: number | null
  /** Requests really sent to the model, or that may have been: counted before the call. */
  readonly attempts: number
  /** Those before somebody asked for it again: they do not count against the most that are allowed. */
  readonly attemptsForgiven: number
  /** Tries to have what its call is made of that came to nothing, since somebody asked for it. */
  readonly postponements: number
  /** When it failed, where somebody asked for it again since: that it failed may still have to be told. */
  readonly failedAt: number | null
  /** Calls made although an earlier one may have been paid for. */
  readonly possiblyRepeated: number
  /** The most that calls without an answer, and refused ones, may have cost. */
  readonly unsureMicroUsd: number
  readonly slotAt: number | null
  readonly deployment: string | null
  /** When the newest attempt started. */
  readonly startedAt: number | null
  readonly requestIds: readonly string[]
  readonly phase: Phase
}

/** Where a job stands. */
export type Phase =
  | { readonly kind: 'waiting'; readonly dueAt: number }
  /** `isReserved`: the cost of its call is held against its batch's cap. */
  | { readonly kind: 'slotted'; readonly slotAt: number; readonly isReserved: boolean }
  | { readonly kind: 'running'; readonly leaseUntil: number }
  | {
      readonly kind: 'succeeded'
      readonly finishedAt: number
      /** When its answer came, where that was long before the job was finished: a rescue found it. */
      readonly answeredAt?: number | undefined
      readonly images: readonly Image[]
      readonly usage: Usage
      readonly costMicroUsd: number
    }
  | { readonly kind: 'failed'; readonly finishedAt: number; readonly failure: Failure }
  /** `reason`: why, where it was not a person, or with the whole batch. */
  | { readonly kind: 'cancelled'; readonly finishedAt: number; readonly reason?: string | undefined }

export type PhaseKind = Phase['kind']

/** The phases that a job ends in. */
export const finalKinds = ['succeeded', 'failed', 'cancelled'] as const satisfies readonly PhaseKind[]

export type FinalKind = (typeof finalKinds)[number]

export type Image = {
  /** Path in the container of images. */
  readonly blob: string
  readonly contentType: string
  readonly sizeBytes: number
  readonly width: number
  readonly height: number
  readonly sha256: string
}

export type Usage = {
  readonly inputTokens: number
  readonly outputTokens: number
  readonly inputTextTokens: number
  readonly inputImageTokens: number
}

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

export function isFinal({ phase }: Pick<Job, 'phase'>): boolean {
  return finalKinds.some((kind) => kind === phase.kind)
}

export type NewJob = Pick<Job, 'batch' | 'key' | 'pool' | 'customId' | 'metadata'> &
  Partial<Pick<Job, 'output' | 'onUnknown' | 'giveUpAt'>> & { readonly now: number }

export type Order = Pick<Job, 'priority' | 'upperMicroUsd'> & { readonly request: ImageRequest }

export function newJob({ now, request, priority, upperMicroUsd, ...fields }: NewJob & Order): Job {
  const job = blankJob({ now, ...fields })
  return { ...job, request, priority, upperMicroUsd, phase: { kind: 'waiting', dueAt: now } }
}

/** A message that was no valid job: final from the start, and never sent to the model. */
export function rejectedJob({
  now,
  failure,
  input,
  ...fields
}: NewJob & { readonly failure: Failure; readonly input: string }): Job {
  return {
    ...blankJob({ now, ...fields }),
    input: input.slice(0, limits.rejectedInputCharsMax).toWellFormed(),
    phase: { kind: 'failed', finishedAt: now, failure },
  }
}

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

/**
 * Whether a job is in the run that this claim of it began. No slot is given twice, so the slot tells runs apart; attempts
 * do not, because a run that sent nothing gives its attempt back to the next one.
 */
export function isInRun({ phase, slotAt, deployment }: Job, claim: Job): boolean {
  return phase.kind === 'running' && slotAt === claim.slotAt && deployment === claim.deployment
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

/** Whoever waited for it has left, or died: its images would be paid for in vain. */
export function isGivenUp({ giveUpAt }: Pick<Job, 'giveUpAt'>, now: number): boolean {
  return giveUpAt !== null && now > giveUpAt
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

function blankJob({ now, ...fields }: NewJob): Omit<Job, 'phase'> {
  return {
    output: null,
    onUnknown: null,
    giveUpAt: null,
    ...fields,
    priority: null,
    upperMicroUsd: 0,
    request: null,
    input: null,
    createdAt: now,
    attempts: 0,
    attemptsForgiven: 0,
    postponements: 0,
    failedAt: null,
    possiblyRepeated: 0,
    unsureMicroUsd: 0,
    slotAt: null,
    deployment: null,
    startedAt: null,
    requestIds: [],
  }
}

function withRequestId(job: Job, requestId: string | undefined): Job {
  if (requestId === undefined || job.requestIds.includes(requestId)) return job
  return { ...job, requestIds: [...job.requestIds, requestId].slice(-limits.requestIdsMax) }
}
