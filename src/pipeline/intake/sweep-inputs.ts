import { jobOfInput } from '../../core/requests/input-ref.ts'
import { limits } from '../../core/limits.ts'
import { gathered } from '../../core/pieces.ts'
import { timing } from '../../core/timing.ts'
import type { Context } from '../context.ts'

/**
 * Removes images that were kept for jobs which are long finished, or never came to be; answers how many. What users put
 * into the container themselves is theirs.
 */
export async function sweepInputs(context: Context): Promise<number> {
  const startedAt = context.clock.now()
  let removed = 0
  const kept = context.inputs.keptBefore(startedAt - timing.inputsKeptMs)
  for await (const names of gathered(kept, { size: limits.sweptAtOnce })) {
    const done = await Promise.all(names.map(async (name) => removeIfDone(context, name)))
    removed += done.filter(Boolean).length
    if (context.clock.now() >= startedAt + timing.sweepMs) break
  }
  return removed
}

async function removeIfDone(context: Context, name: string): Promise<boolean> {
  const ref = jobOfInput(name)
  if (ref === undefined) return false
  const stored = await context.jobs.get(ref)
  if (stored !== undefined) {
    const { job } = stored
    const finishedAt = 'finishedAt' in job.phase ? job.phase.finishedAt : Infinity
    if (finishedAt >= context.clock.now() - timing.inputsKeptMs) return false
  }
  await context.inputs.remove(name)
  return true
}
