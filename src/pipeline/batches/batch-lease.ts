import type { BatchProgress } from '../../core/batches/batch-progress.ts'
import { timing } from '../../core/timing.ts'
import type { Batch } from '../../ports/batches.ts'
import type { BatchTask } from '../../ports/messages.ts'
import type { Context } from '../context.ts'

/** A batch that one instance works on, beside its jobs. */
export type BatchLease = {
  readonly batch: Batch
  /** Call it now and then while the work goes on; it costs something only when the lease is half over. */
  readonly renew: () => Promise<void>
}

/**
 * Takes a batch to work on, unless somebody has it already; undefined then, and when there is nothing to do. Two who did
 * the same would come to the same, but in each other's way. Whoever holds it may die: the task is sent again for the
 * time at which its lease ends.
 */
export async function leaseBatch(
  context: Context,
  task: BatchTask,
  isWanted: (progress: BatchProgress) => boolean,
): Promise<BatchLease | undefined> {
  const { batch: name } = task
  let isTaken = false
  const batch = await context.batches.changeBatch(name, (stored) => {
    const now = context.clock.now()
    const { progress, workedOnUntil } = stored
    isTaken = progress !== null && isWanted(progress) && workedOnUntil <= now
    return isTaken ? { ...stored, workedOnUntil: now + timing.batchLeaseMs } : undefined
  })
  if (batch?.progress === undefined || batch.progress === null || !isWanted(batch.progress)) return undefined
  await context.messages.sendBatchTask(task, batch.workedOnUntil)
  return isTaken ? { batch, renew: renewal(context, batch) } : undefined
}

/** The work came to its end: whoever comes next need not wait. */
export function released(batch: Batch, progress: BatchProgress): Batch {
  return { ...batch, progress, workedOnUntil: 0 }
}

function renewal(context: Context, { batch, workedOnUntil }: Batch): () => Promise<void> {
  let until = workedOnUntil
  return async () => {
    const now = context.clock.now()
    if (now < until - timing.batchLeaseMs / 2) return
    until = now + timing.batchLeaseMs
    await context.batches.changeBatch(batch, (stored) => ({ ...stored, workedOnUntil: until }))
  }
}
