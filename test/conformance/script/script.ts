import { batchList, cancel, faultyFile, finishedBatches } from './batches.ts'
import { errors, tooMany } from './errors.ts'
import { fileList, files } from './files.ts'
import { images } from './images.ts'
import type { Place } from './place.ts'
import { uploads } from './uploads.ts'

/** What the script has seen, in words that say nothing of the place: they must be the same wherever it runs. */
export type Outcome = Readonly<Record<string, unknown>>

/**
 * A customer's program: it uses OpenAI's own client as its documentation shows, and reads nothing but what that documents.
 * Throws at the first thing that is not so.
 */
export async function script(place: Place): Promise<Outcome> {
  const steps: readonly (readonly [string, (place: Place) => Promise<unknown>])[] = [
    ['files: create, retrieve, content, delete', files],
    ['files: list, page by page', fileList],
    ['uploads: parts in any order, complete, cancel', uploads],
    ['batches: create, poll, download, join by custom_id', finishedBatches],
    ['batches: a faulty file fails, line by line', faultyFile],
    ['images: generate, edit with a mask, edit two images', images],
    ['batches: cancel', cancel],
    ['batches: list, page by page', batchList],
    ['errors: 400, 401, 404, 409', errors],
    ['errors: 429', tooMany],
  ]
  const outcome: Record<string, unknown> = {}
  for (const [name, step] of steps) {
    const startedAt = performance.now()
    try {
      outcome[name] = await step(place)
    } catch (error) {
      throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
    place.say(`${name} (${((performance.now() - startedAt) / 1_000).toFixed(1)} s)`)
  }
  return outcome
}
