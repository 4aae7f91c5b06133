import type { BatchOrder } from '../core/batch-order.ts'
import { plainTerms, type Terms } from '../core/fairness.ts'
import { timedId } from '../core/keys.ts'
import { timing } from '../core/timing.ts'
import type { Batch } from '../ports.ts'
import type { Darkroom } from './darkroom.ts'

/**
 * Takes a batch whose file is there. It is stored, listed and announced before this returns. Its file is checked
 * afterwards, by `registerBatch`: whoever calls this calls that as well and need not wait for it; should he die, the
 * queue brings it to somebody else.
 */
export async function submitBatch(
  room: Darkroom,
  submitted: {
    readonly owner: string | null
    readonly order: BatchOrder
    readonly terms: Partial<Pick<Terms, 'priority' | 'capMicroUsd'>>
  },
): Promise<string> {
  const { owner, order, terms } = submitted
  const createdAt = room.clock.now()
  const batch: Batch = {
    batch: timedId('batch_', createdAt, room.newId()),
    // Until its first line says whose it is.
    pool: room.pools[0]?.name ?? '',
    owner,
    createdAt,
    terms: { ...plainTerms, ...terms },
    order,
    progress: { kind: 'validating' },
    workedOnUntil: 0,
  }
  // Listed first: an entry without a batch is passed over, a batch without an entry would never be seen.
  await room.batches.put(batch)
  await room.jobs.openBatch(batch)
  await room.messages.sendBatchTask(
    { task: 'register', batch: batch.batch },
    createdAt + timing.registerLookMs,
  )
  return batch.batch
}
