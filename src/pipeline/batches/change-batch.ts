import { goesOn, isAtCap } from '../../core/budget/fairness.ts'
import { localCaller, mayUse, type Caller } from '../../core/caller.ts'
import type { Priority } from '../../core/requests/submission.ts'
import type { Batch } from '../../ports/batches.ts'
import { poolNamed, type Context } from '../context.ts'
import { openBatch } from '../intake/known-batch.ts'
import { mayMake } from '../intake/owners.ts'
import { nudge } from '../pacing/announce.ts'
import { changeFlow, type BatchRef } from '../pacing/flows.ts'
import { recall } from './recall.ts'

export type Changes = {
  readonly priority?: Priority | undefined
  /** Null takes the cap away. */
  readonly capMicroUsd?: number | null | undefined
}

export type Changed =
  | { readonly kind: 'done' }
  /** Also when it is somebody else's, or has a name that only we give. */
  | { readonly kind: 'unknown-batch' }
  /** Its file is being checked: where it belongs is not known yet. */
  | { readonly kind: 'being-checked' }
  /** Its file was refused: none of its lines became a job. */
  | { readonly kind: 'failed-before' }
  /** No pool serves the model. */
  | { readonly kind: 'unknown-model' }
  /** The batch belongs to another pool than the model's. */
  | { readonly kind: 'other-pool'; readonly pool: string }
  /** The cap is less than the pool's cheapest call. */
  | { readonly kind: 'cap-too-low'; readonly leastMicroUsd: number }

/**
 * Changes what a batch may have of its pool and of its owner's money. One that does not exist yet is opened, in the pool
 * of the model named, or in the first one, and belongs to the caller.
 */
export async function changeBatch(
  context: Context,
  { batch, model }: { readonly batch: string; readonly model?: string | undefined },
  changes: Changes,
  caller: Caller = localCaller,
): Promise<Changed> {
  const stored = await context.batches.readBatch(batch)
  const isTheirs = stored === undefined ? mayMake(caller, batch) : mayUse(caller, stored.owner)
  if (!isTheirs) return { kind: 'unknown-batch' }
  if (stored?.progress?.kind === 'validating') return { kind: 'being-checked' }
  if (stored?.progress?.kind === 'failed') return { kind: 'failed-before' }
  const chosen = poolFor(context, stored, model)
  if (chosen.kind !== 'pool') return chosen
  const { pool } = chosen
  // In a pool that the settings have lost no call starts: any cap holds there.
  const costs = poolNamed(context, pool)?.costs
  const { capMicroUsd } = changes
  if (typeof capMicroUsd === 'number' && costs !== undefined && capMicroUsd < costs.leastMicroUsd) {
    return { kind: 'cap-too-low', leastMicroUsd: costs.leastMicroUsd }
  }
  const opened = await openBatch(context, { pool, batch }, caller.key)
  // Somebody else may have opened it meanwhile.
  if (!mayUse(caller, opened.owner)) return { kind: 'unknown-batch' }
  await changeTerms(context, opened, changes)
  return { kind: 'done' }
}

/** A batch stays in its pool; the model may be named again. */
function poolFor(
  context: Context,
  stored: Batch | undefined,
  model: string | undefined,
):
  | Extract<Changed, { kind: 'unknown-model' | 'other-pool' }>
  | { readonly kind: 'pool'; readonly pool: string } {
  const asked = model === undefined ? context.pools[0]?.name : context.poolOfModel(model)
  const pool = stored?.pool ?? asked
  if (pool === undefined) return { kind: 'unknown-model' }
  return model === undefined || asked === pool ? { kind: 'pool', pool } : { kind: 'other-pool', pool }
}

async function changeTerms(
  context: Context,
  { pool, batch }: BatchRef,
  { priority, capMicroUsd }: Changes,
): Promise<void> {
  let isLowered = false
  await changeFlow(context, { pool, batch }, (flow) => {
    const isCapMoved = capMicroUsd !== undefined && capMicroUsd !== flow.capMicroUsd
    // The same again counts as well: whoever asked first may have died before the recall.
    isLowered = typeof capMicroUsd === 'number' && capMicroUsd <= (flow.capMicroUsd ?? Infinity)
    return {
      ...flow,
      priority: priority ?? flow.priority,
      capMicroUsd: capMicroUsd === undefined ? flow.capMicroUsd : capMicroUsd,
      decision:
        isCapMoved && isAtCap(flow) ? goesOn(context.clock.now(), 'the cap was changed') : flow.decision,
    }
  })
  // Slots that were given under a higher cap, or none, are given anew.
  if (isLowered) await recall(context, { pool, batch })
  await nudge(context, pool)
}
