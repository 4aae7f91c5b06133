import type { FailureKind, Failure } from '../core/jobs/failure.ts'
import type { HookEvent } from '../core/batches/webhook.ts'
import type { JobRef } from './jobs.ts'

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
