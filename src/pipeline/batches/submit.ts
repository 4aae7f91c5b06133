import type { BatchOrder } from '../../core/batches/batch-order.ts'
import { plainTerms, type Terms } from '../../core/budget/fairness.ts'
import { localCaller, mayUse, type Caller } from '../../core/caller.ts'
import { errorCode } from '../../core/log-event.ts'
import { timedId, timeOfId } from '../../core/timed-id.ts'
import { timing } from '../../core/timing.ts'
import type { Batch } from '../../ports/batches.ts'
import type { StoredFile } from '../../ports/files.ts'
import type { Context } from '../context.ts'
import { registerBatch } from './register.ts'

/** A batch as its sender asks for it. Whose files its lines may name follows from who asks. */
export type AskedBatch = {
  readonly order: Omit<BatchOrder, 'filesOf'>
  readonly terms: Partial<Pick<Terms, 'priority' | 'capMicroUsd'>>
  /** The same key of the same sender is the same batch. */
  readonly idempotencyKey?: string | undefined
}

export type Submitted =
  | { readonly kind: 'taken'; readonly batch: Batch }
  /** The same order came before, under the same key. */
  | { readonly kind: 'taken-before'; readonly batch: Batch }
  /** Another order came before, under the same key. */
  | { readonly kind: 'key-taken'; readonly batch: Batch }
  /** Also when the file is somebody else's. */
  | { readonly kind: 'no-file'; readonly fileId: string }
  | { readonly kind: 'wrong-purpose'; readonly file: StoredFile }
  /** The cap is less than the cheapest call of all pools. */
  | { readonly kind: 'cap-too-low'; readonly leastMicroUsd: number }
  /** `fault` says what is wrong with the webhook's address. */
  | { readonly kind: 'bad-webhook'; readonly fault: string }

/**
 * Submits a batch by file. When it is taken, it is stored, listed and announced before this returns, and the check of its
 * file has begun: nobody has to wait for that, and should this instance die, the queue brings it to another.
 */
export async function submitBatch(
  context: Context,
  asked: AskedBatch,
  caller: Caller = localCaller,
): Promise<Submitted> {
  const refusal = await refusalOf(context, asked, caller)
  if (refusal !== undefined) return refusal
  const { terms, idempotencyKey } = asked
  const order = orderOf(asked, caller)
  const { batch, isNew } = await storeBatch(context, { owner: caller.key, idempotencyKey, order, terms })
  if (!isNew && JSON.stringify(batch.order) !== JSON.stringify(order)) return { kind: 'key-taken', batch }
  void registerBatch(context, batch.batch).catch((error: unknown) => {
    context.log.event('batch_put_off', { batch: batch.batch, code: errorCode(error) })
  })
  return { kind: isNew ? 'taken' : 'taken-before', batch }
}

async function refusalOf(
  context: Context,
  { order, terms: { capMicroUsd } }: AskedBatch,
  caller: Caller,
): Promise<Submitted | undefined> {
  const { inputFileId: fileId, webhook } = order
  const file = await context.files.get(fileId)
  if (file === undefined || !mayUse(caller, file.owner)) return { kind: 'no-file', fileId }
  if (file.purpose !== 'batch') return { kind: 'wrong-purpose', file }
  // The first line says which pool it is: until then the cheapest call of all counts.
  const leastMicroUsd = Math.min(...context.pools.map(({ costs }) => costs.leastMicroUsd))
  if (typeof capMicroUsd === 'number' && capMicroUsd < leastMicroUsd) {
    return { kind: 'cap-too-low', leastMicroUsd }
  }
  const fault = webhook === null ? undefined : context.webhooks.fault(webhook.url)
  return fault === undefined ? undefined : { kind: 'bad-webhook', fault }
}

/** The fields in the order in which they are stored: orders are compared as JSON. */
function orderOf({ order }: AskedBatch, caller: Caller): BatchOrder {
  const { inputFileId, ...rest } = order
  const { outputPrefix } = rest
  return {
    inputFileId,
    filesOf: caller.isAdmin ? null : caller.key,
    ...rest,
    outputPrefix: outputPrefix === null ? null : ownPrefix(outputPrefix, caller),
  }
}

/** A key's images go where no other key's can: no batch is called so, and no name of a key has a slash. */
function ownPrefix(prefix: string, { key, isAdmin }: Caller): string {
  return isAdmin || key === null ? prefix : `~${key}/${prefix}`
}

/** Stores, lists and announces a batch; `submitBatch` without its rules, and without the check of the file. */
export async function storeBatch(
  context: Context,
  submitted: {
    readonly owner: string | null
    /** The same one is the same batch, whatever else is asked for. */
    readonly idempotencyKey?: string | undefined
    readonly order: BatchOrder
    readonly terms: AskedBatch['terms']
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
