import type { Job, PhaseKind } from '../core/jobs/job.ts'
import type { Priority } from '../core/requests/submission.ts'
import type { FailureKind } from '../core/jobs/failure.ts'

export type JobRef = Pick<Job, 'batch' | 'key'>

/** A job as it stood when it was read; a change is made against exactly this state. */
export type JobSnapshot = { readonly job: Job; readonly version: string }

/** A row of the waiting line. */
export type WaitingJob = JobRef & {
  readonly dueAt: number
  readonly priority: Priority | null
  readonly upperMicroUsd: number
}

/** What an index row tells of its job. `failure` of failed ones: their kind. */
export type IndexedJob = JobRef & {
  readonly at: number
  readonly priority: Priority | null
  readonly failure: FailureKind | null
}

/** Jobs. Every change is one transaction: record, index row and its batch's counters agree. */
export type JobTable = {
  /** `exists` when the batch already has a job of that key: a message delivered twice makes one job. */
  add(job: Job): Promise<'added' | 'exists'>
  get(ref: JobRef): Promise<JobSnapshot | undefined>
  /**
   * Undefined when the job was changed by somebody else since it was read. `mayWaitMs`: how long it may wait for
   * another change of the batch, to be written with it.
   */
  change(
    before: JobSnapshot,
    after: Job,
    options?: { readonly mayWaitMs?: number },
  ): Promise<JobSnapshot | undefined>
  /**
   * Gives slots to waiting jobs of one batch. Under a cap no job gets one whose cost could exceed it, whoever else gives
   * slots at the same time: what is spent, what may be spent and what is reserved stay within it.
   */
  slot(order: { grants: readonly SlotGrant[]; capMicroUsd: number | null }): Promise<SlotsGiven>
  /** Cancels jobs that wait, or where none waits those that hold a slot, up to the limit. */
  cancelQueued(query: {
    batch: string
    limit: number
    now: number
  }): Promise<{ readonly found: number; readonly cancelled: number }>
  /** The batch's waiting jobs in order of priority and due time, later ones included; from the given line on. */
  firstWaiting(query: {
    batch: string
    limit: number
    from?: Priority | null
  }): Promise<readonly WaitingJob[]>
  /** How many wait before this one, counted up to the limit. */
  countBefore(query: { waiting: WaitingJob; limit: number }): Promise<number>
  /** Jobs whose slot, or whose lease, lies before the given time. */
  overdue(query: {
    batch: string
    kind: 'slotted' | 'running'
    before: number
    limit: number
  }): Promise<readonly JobRef[]>
  /**
   * Jobs of one phase in the order of their index rows: waiting and retries by when they are due, slots and leases by
   * theirs, finished ones by when they finished. From behind `after` on, or from a time.
   */
  indexed(query: {
    batch: string
    kind: PhaseKind
    after?: Pick<IndexedJob, 'at' | 'key' | 'priority'> | undefined
    from?: number | undefined
    limit: number
  }): Promise<readonly IndexedJob[]>
  /** Records in the order of their keys, from behind `after` on. `isBrief`: without their prompts, at a fraction of the bytes. */
  list(query: {
    batch: string
    after?: string | undefined
    limit: number
    isBrief?: boolean
  }): Promise<readonly Job[]>
}

/** Who is not among the granted was taken by somebody else, or is kept back by the cap. */
export type SlotsGiven = { readonly granted: readonly SlotGrant[]; readonly isCapReached: boolean }

export type SlotGrant = WaitingJob & {
  readonly slotAt: number
  readonly quota: string
  readonly deployment: string
}
