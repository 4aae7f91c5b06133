import type { BatchOrder } from '../../core/batches/batch-order.ts'
import { plainTerms, type Terms } from '../../core/budget/fairness.ts'
import { timedId, timeOfId } from '../../core/timed-id.ts'
import { timing } from '../../core/timing.ts'
import type { Batch } from '../../ports/batches.ts'
import type { Context } from '../context.ts'

/**
 * Takes a batch whose file is there. It is stored, listed and announced before this returns. Its file is checked
 * afterwards, by `registerBatch`: whoever calls this calls that as well and need not wait for it; should he die, the
 * queue brings it to somebody else.
 */
export async function submitBatch(
  context: Context,
  submitted: {
    readonly owner: string | null
    /** The same one is the same batch, whatever else is asked for. */
    readonly idempotencyKey?: string | undefined
    readonly order: BatchOrder
    readonly terms: Partial<Pick<Terms, 'priority' | 'capMicroUsd'>>
  },
): Promise<{ readonly batch: Batch; readonly isNew: boolean }> {
  const { owner, order, terms, idempotencyKey } = submitted
  const ownId = timedId('batch_', context.clock.now(), context.newId())
  const id =
    idempotencyKey === undefined
      ? ownId
      : await context.batchList.claim({ owner, idempotencyKey, batch: ownId })
  const known = id === ownId ? undefined : await context.batches.readBatch(id)
  if (known !== undefined) return { batch: known, isNew: false }
  // Whoever claimed it first may have died before it was there: then it is made here.
  const createdAt = timeOfId(id) ?? context.clock.now()
  const batch: Batch = {
    batch: id,
    // Until its first line says whose it is.
    pool: context.pools[0]?.name ?? '',
    owner,
    createdAt,
    terms: { ...plainTerms, ...terms },
    order,
    progress: { kind: 'validating' },
    workedOnUntil: 0,
  }
  // Listed first: an entry without a batch is passed over, a batch without an entry would never be seen.
  await context.batchList.put(batch)
  // Before the batch is there as well: one that nobody looks at would stay as it is for ever.
  await context.messages.sendBatchTask(
    { task: 'register', batch: batch.batch },
    context.clock.now() + timing.registerLookMs,
  )
  return { batch: await context.batches.openBatch(batch), isNew: true }
}
