import { mayUse, type Caller } from '../../core/caller.ts'
import { ownerOfInbox } from '../../core/jobs/keys.ts'
import { isSubmitted } from '../../core/timed-id.ts'
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

/** Whether the caller may change the batch, or give terms to one that is not there yet. */
export async function mayOpen(context: Context, caller: Caller, batch: string): Promise<boolean> {
  const known = await knownBatch(context, batch)
  return known === undefined ? mayMake(caller, batch) : mayUse(caller, known.owner)
}

/** Anybody may make a batch of any name, but for names that only we give, and others' inboxes. */
export function mayMake(caller: Caller, batch: string): boolean {
  const inbox = ownerOfInbox(batch)
  return !isSubmitted(batch) && (inbox === undefined || inbox.owner === caller.key)
}
