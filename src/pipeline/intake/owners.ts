import { mayUse, type Caller } from '../../core/caller.ts'
import type { Context } from '../context.ts'
import { knownBatch } from './known-batch.ts'

/**
 * Whether the caller may see, and change, what is in the batch; false as well when there is none. An admin costs no read,
 * anybody else one for each batch that this instance has not seen: the owner of a batch never changes.
 */
export async function mayReach(context: Context, caller: Caller, batch: string): Promise<boolean> {
  if (caller.isAdmin) return true
  const known = await knownBatch(context, batch)
  return known !== undefined && mayUse(caller, known.owner)
}
