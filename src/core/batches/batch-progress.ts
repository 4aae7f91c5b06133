import type { JobCounts } from '../jobs/counters.ts'
import type { Decision } from '../budget/fairness.ts'

/** How far a submitted batch has come, beside its jobs. Times are epoch milliseconds. */
export type BatchProgress =
  /** Its file is being checked: nothing is spent before all of it is right. */
  | { readonly kind: 'validating' }
  /** Faults stood in its file: `faults` counts them all, the first are kept. */
  | { readonly kind: 'failed'; readonly failedAt: number; readonly faults: number }
  /** Its lines become jobs, in order; the first `registered` of them are. They start meanwhile. */
  | {
      readonly kind: 'registering'
      readonly validatedAt: number
      readonly total: number
      readonly registered: number
    }
  /** All its lines are jobs, or it was cancelled before they were. */
  | { readonly kind: 'registered'; readonly validatedAt: number; readonly total: number }
  /** Its jobs are finished, and its result files are written, under these ids. */
  | (Results & { readonly kind: 'finalizing' })
  | (Results & { readonly kind: 'finished'; readonly finishedAt: number })

export type Results = {
  readonly validatedAt: number
  readonly total: number
  readonly finalizingAt: number
  /** Null: no line belongs into it. */
  readonly outputFileId: string | null
  readonly errorFileId: string | null
}

/** OpenAI's states of a batch. A batch here does not expire: its window is a target. */
export type BatchState =
  'validating' | 'failed' | 'in_progress' | 'finalizing' | 'completed' | 'cancelling' | 'cancelled'

/** `progress` null: a batch that was sent job by job, which is finished whenever its jobs are. */
export function batchState(
  progress: BatchProgress | null,
  { decision, counts }: { readonly decision: Decision | null; readonly counts: JobCounts },
): BatchState {
  const isCancelled = decision?.kind === 'cancelled'
  const isDone = counts.waiting + counts.running === 0
  switch (progress?.kind) {
    // One that was opened before its first job has not begun.
    case undefined:
      if (isDone && counts.total > 0) return isCancelled ? 'cancelled' : 'completed'
      break
    case 'validating':
    case 'failed':
      return progress.kind
    case 'registering':
      break
    case 'registered':
    case 'finalizing':
      if (isDone && !isCancelled) return 'finalizing'
      break
    case 'finished':
      return isCancelled ? 'cancelled' : 'completed'
  }
  return isCancelled ? 'cancelling' : 'in_progress'
}

/** With the lines that are no jobs yet, or were cancelled before they were. */
export function countsOfLines(
  counts: JobCounts,
  { progress, decision }: { readonly progress: BatchProgress | null; readonly decision: Decision | null },
): JobCounts {
  const total = progress !== null && 'total' in progress ? progress.total : 0
  const missing = Math.max(0, total - counts.total)
  const isCancelled = decision?.kind === 'cancelled'
  return {
    ...counts,
    total: counts.total + missing,
    waiting: counts.waiting + (isCancelled ? 0 : missing),
    cancelled: counts.cancelled + (isCancelled ? missing : 0),
  }
}
