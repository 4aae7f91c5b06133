import type { Batch } from '../../ports.ts'
import type { Darkroom } from '../darkroom.ts'

/** Batches remembered as existing; a forgotten one costs a read, or a write that changes nothing. */
const batchesSeenMax = 10_000

/** The batch as it was opened; of what is in it only what never changes may be relied on. */
export async function knownBatch(room: Darkroom, name: string): Promise<Batch | undefined> {
  const known = room.seen.batches.get(name)
  if (known !== undefined) return known
  const read = await room.jobs.readBatch(name)
  if (read !== undefined) await rememberBatch(room, name, Promise.resolve(read))
  return read
}

/** Remembered before it is done: messages come by the dozen, and one of them is enough to ask. */
export async function rememberBatch(
  { seen: { batches } }: Darkroom,
  name: string,
  opened: Promise<Batch>,
): Promise<Batch> {
  if (batches.size >= batchesSeenMax) batches.clear()
  batches.set(name, opened)
  try {
    return await opened
  } catch (error) {
    if (batches.get(name) === opened) batches.delete(name)
    throw error
  }
}
