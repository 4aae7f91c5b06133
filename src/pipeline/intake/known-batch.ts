import type { Batch } from '../../ports/batches.ts'
import type { Context } from '../context.ts'
import type { BatchRef } from '../pacing/flows.ts'
import { plainTerms } from '../../core/budget/fairness.ts'

/** The batch as it was opened; of what is in it only what never changes may be relied on. */
export async function knownBatch(context: Context, name: string): Promise<Batch | undefined> {
  const known = context.caches.batches.find(name)
  if (known !== undefined) return known
  const read = await context.batches.readBatch(name)
  if (read !== undefined) void context.caches.batches.keep(name, Promise.resolve(read))
  return read
}

/** Answers the batch as it was opened first: it draws on the pool, and belongs to the owner, of its first job. */
export async function openOnce(context: Context, ref: BatchRef, owner: string | null = null): Promise<Batch> {
  return context.caches.batches.get(ref.batch, async () => openBatch(context, ref, owner))
}

/** Makes the batch known, and lists it; answers it as it was opened first. Doing it again changes nothing. */
export async function openBatch(
  context: Context,
  ref: BatchRef,
  owner: string | null = null,
): Promise<Batch> {
  const opened = await context.batches.openBatch(newBatch(context, ref, owner))
  await context.batchList.put(opened)
  return opened
}

function newBatch(context: Context, { pool, batch }: BatchRef, owner: string | null): Batch {
  return {
    batch,
    pool,
    owner,
    createdAt: context.clock.now(),
    terms: plainTerms,
    order: null,
    progress: null,
    workedOnUntil: 0,
  }
}
