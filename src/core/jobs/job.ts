import type { Priority, ImageRequest } from '../requests/submission.ts'
import { limits } from '../limits.ts'
import type { Failure, OnUnknown } from './failure.ts'

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

/**
 * Whether a job is in the run that this claim of it began. No slot is given twice, so the slot tells runs apart; attempts
 * do not, because a run that sent nothing gives its attempt back to the next one.
 */
export function isInRun({ phase, slotAt, deployment }: Job, claim: Job): boolean {
  return phase.kind === 'running' && slotAt === claim.slotAt && deployment === claim.deployment
}

/** Whoever waited for it has left, or died: its images would be paid for in vain. */
export function isGivenUp({ giveUpAt }: Pick<Job, 'giveUpAt'>, now: number): boolean {
  return giveUpAt !== null && now > giveUpAt
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
