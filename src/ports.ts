import type { LogEvent, LogFacts } from './core/log-event.ts'
import type { LineFault } from './core/batches/batch-line.ts'
import type { BatchOrder } from './core/batches/batch-order.ts'
import type { BatchProgress } from './core/batches/batch-progress.ts'
import type { Counters } from './core/jobs/counters.ts'
import type { Failure, FailureKind, ModelFailure } from './core/jobs/failure.ts'
import type { IndexKind } from './core/jobs/keys.ts'
import type { Terms } from './core/budget/fairness.ts'
import type { Image, Job, Usage } from './core/jobs/job.ts'
import type { PictureFormat } from './core/requests/input-picture.ts'
import type { Inputs } from './core/requests/input-ref.ts'
import type { ImageRequest, Priority } from './core/requests/submission.ts'
import type { HookEvent, HookLog, WebhookAnswer } from './core/batches/webhook.ts'

// What they need for budgets, files, and addresses that others gave us stands by itself.
export type * from './ports/budget.ts'
export * from './ports/files.ts'
export type * from './ports/outgoing.ts'
export type * from './ports/uploads.ts'

/** What the pipeline needs from the world. Every method may throw for a broken world; what is expected is returned. */

export type Clock = {
  now(): number
  /** Resolves at the given time or when the signal aborts, whichever is first; never rejects. */
  sleepUntil(at: number, signal?: AbortSignal): Promise<void>
}

/** A number in [0, 1). */
export type Chance = () => number

/** Lines for the operator: never a prompt, never a key. */
export type Log = { event(event: LogEvent, facts?: LogFacts): void }

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

/** `terms` are those of a batch without a flow; one that has a flow has its terms there. */
export type Batch = {
  readonly batch: string
  readonly pool: string
  /** The API key that it belongs to; null: none, as what came by the queue. */
  readonly owner: string | null
  readonly createdAt: number
  readonly terms: Terms
  /** What it was submitted with, and how far it is; null: it was sent job by job. */
  readonly order: BatchOrder | null
  readonly progress: BatchProgress | null
  /** Until when somebody has its file or its results in hand; in the past: nobody. */
  readonly workedOnUntil: number
}

/** The jobs and counters of batches. Every change is one transaction: record, index row and counters agree. */
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
    kind: 'slot' | 'run'
    before: number
    limit: number
  }): Promise<readonly JobRef[]>
  /**
   * Jobs of one state in the order of their index rows: waiting and retries by when they are due, slots and leases by
   * theirs, finished ones by when they finished. From behind `after` on, or from a time.
   */
  indexed(query: {
    batch: string
    kind: IndexKind
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
  /** Makes the batch known; answers it as it was opened first. */
  openBatch(batch: Batch): Promise<Batch>
  saveTerms(batch: string, terms: Terms): Promise<void>
  /**
   * Changes a batch's pool or progress against what they are now; `change` answers undefined to leave them, and may be
   * asked several times. Answers the batch as it stands in the end.
   */
  changeBatch(batch: string, change: (batch: Batch) => Batch | undefined): Promise<Batch | undefined>
  /** The faults of a batch's file, once and for all. */
  saveFaults(batch: string, faults: readonly LineFault[]): Promise<void>
  faults(batch: string): Promise<readonly LineFault[]>
  readBatch(batch: string): Promise<Batch | undefined>
  /** The newest tries of the batch's webhook; undefined before the first. */
  readHookLog(batch: string): Promise<HookLog | undefined>
  /** Where many change it at once, one of them may not be noted. */
  changeHookLog(batch: string, change: (log: HookLog) => HookLog): Promise<void>
  /** With its counters. */
  getBatch(batch: string): Promise<{ readonly batch: Batch; readonly counters: Counters } | undefined>
}

/** Who is not among the granted was taken by somebody else, or is kept back by the cap. */
export type SlotsGiven = { readonly granted: readonly SlotGrant[]; readonly isCapReached: boolean }

export type SlotGrant = WaitingJob & {
  readonly slotAt: number
  readonly quota: string
  readonly deployment: string
}

/** Sent by the pacer, one for each slot; visible at `wakeAt`. */
export type WorkMessage = JobRef & {
  readonly pool: string
  readonly quota: string
  readonly deployment: string
  readonly slotAt: number
  /** The tick that gave it. */
  readonly epoch: number
  readonly wakeAt: number
}

export type TickMessage = { readonly pool: string; readonly epoch: number }

/** What is done for a submitted batch beside its jobs. */
export type BatchTask =
  /** Check its file, and make its lines jobs. */
  | { readonly task: 'register'; readonly batch: string }
  /** See whether all its jobs are finished, and if so write its results. */
  | { readonly task: 'finalise'; readonly batch: string }
  /** Let failed jobs of these kinds wait again, those that failed before a time. */
  | {
      readonly task: 'retry'
      readonly batch: string
      readonly kinds: readonly FailureKind[]
      readonly failedBefore: number
    }

/** `job`: a job was about to end so, and is looked at. `failure`: of one that was to fail. `event`: what is to be told, until it is. */
export type HookMessage =
  | {
      readonly kind: 'job'
      readonly batch: string
      readonly key: string
      readonly finishedAt: number
      readonly failure: Pick<Failure, 'kind' | 'code'> | null
      /** The first is 1, as is the first try. */
      readonly looks: number
    }
  | { readonly kind: 'event'; readonly batch: string; readonly event: HookEvent; readonly tries: number }

export type Messages = {
  sendBatchTask(message: BatchTask, visibleAt: number): Promise<void>
  sendWork(message: WorkMessage, visibleAt: number): Promise<void>
  sendTick(message: TickMessage, visibleAt: number): Promise<void>
  sendHook(message: HookMessage, visibleAt: number): Promise<void>
}

export type WebhookSender = {
  /** Why no webhook can go there, as a sentence: the address, or that nothing is set to sign with. */
  fault(url: string): string | undefined
  /** Sends the event once, signed. */
  send(delivery: {
    readonly url: string
    readonly eventId: string
    readonly body: string
    readonly sentAt: number
  }): Promise<WebhookAnswer>
}

/** The job that pictures are named after. */
export type ImageOwner = JobRef & Partial<Pick<Job, 'output'>>

/** Pictures in the store of images, under names derived from the job. */
export type ImageStore = {
  /** Writes all pictures of one answer, with the facts of the call beside them. */
  save(answer: {
    readonly job: ImageOwner
    readonly facts: CallFacts
    readonly images: readonly PictureBytes[]
  }): Promise<readonly Image[]>
  /** What a call has left: undefined unless every picture of one answer is there. */
  find(job: ImageOwner): Promise<SavedAnswer | undefined>
  read(image: Image): Promise<ImageContent | undefined>
  /** The image's bytes as they come; undefined when it is gone. */
  open(image: Image): Promise<AsyncIterable<Uint8Array> | undefined>
}

export type SavedAnswer = { readonly facts: CallFacts; readonly images: readonly Image[] }

/** A link where storage can sign one, else the bytes. */
export type ImageContent =
  { readonly kind: 'link'; readonly url: string } | { readonly kind: 'bytes'; readonly bytes: Uint8Array }

export type CallFacts = {
  readonly attempt: number
  readonly usage: Usage
  readonly requestId: string | undefined
  readonly finishedAt: number
}

/** A picture that was checked to be one. */
export type PictureBytes = {
  readonly bytes: Uint8Array
  readonly contentType: string
  /** With its dot. */
  readonly extension: string
  readonly width: number
  readonly height: number
}

export type ModelAnswer =
  | {
      readonly kind: 'images'
      readonly images: readonly PictureBytes[]
      readonly usage: Usage
      readonly requestId: string | undefined
      /** The limit of requests a minute that its headers spoke of. */
      readonly limitRpm: number | null
    }
  | { readonly kind: 'failure'; readonly failure: ModelFailure }

/** The image deployments. `generate` sends exactly one request to the one named: retries are the pipeline's. */
export type ImageModel = {
  generate(call: {
    readonly deployment: string
    readonly request: ImageRequest
    /** What an edit starts from: the images that the request's `inputs` name. */
    readonly inputs?: Inputs<InputImage> | undefined
  }): Promise<ModelAnswer>
}

/** An image to start from, checked to be one. */
export type InputImage = { readonly bytes: Uint8Array; readonly format: PictureFormat }

/** Images that edits start from, as blobs: what users put there themselves, and what came inside their jobs. */
export type InputStore = {
  /** The first bytes of a blob, and the size of all of it; undefined when there is none of that name. */
  read(
    name: string,
    bytesMax: number,
  ): Promise<{ readonly bytes: Uint8Array; readonly sizeBytes: number } | undefined>
  /** One of that name is replaced. */
  keep(name: string, bytes: Uint8Array): Promise<void>
  /** Names of images that were kept for jobs before a time. */
  keptBefore(at: number): AsyncIterable<string>
  remove(name: string): Promise<void>
  /** 128 bits in hex that tell the bytes from all others; made beside the event loop, which has slots to keep. */
  fingerprint(bytes: Uint8Array): Promise<string>
}

/** Batches by the time at which they were opened. */
export type BatchList = {
  /** Remembers which batch an `Idempotency-Key` of an owner stands for: the first one that was told. */
  claim(claim: {
    readonly owner: string | null
    readonly idempotencyKey: string
    readonly batch: string
  }): Promise<string>
  put(batch: Pick<Batch, 'batch' | 'owner' | 'createdAt'>): Promise<void>
  /** Names, newest first, of one key or of all; from behind a batch on. */
  page(query: {
    readonly owner: string | undefined
    readonly after?: Pick<Batch, 'batch' | 'createdAt'> | undefined
    readonly limit: number
    /** Without those that were named by their jobs. */
    readonly isSubmittedOnly: boolean
  }): Promise<{ readonly batches: readonly string[]; readonly hasMore: boolean }>
}
