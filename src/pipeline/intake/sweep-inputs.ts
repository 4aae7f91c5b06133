import { jobOfInput } from '../../core/requests/input-ref.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { Context } from '../context.ts'

/**
 * Removes images that were kept for jobs which are long finished, or never came to be; answers how many. What users put
 * into the container themselves is theirs.
 */
export async function sweepInputs(context: Context): Promise<number> {
  const startedAt = context.clock.now()
  let removed = 0
  let names: string[] = []
  const sweep = async (): Promise<void> => {
    const done = await Promise.all(names.map(async (name) => removeIfDone(context, name)))
    removed += done.filter(Boolean).length
    names = []
  }
  for await (const name of context.inputs.keptBefore(startedAt - timing.inputsKeptMs)) {
    names.push(name)
    if (names.length < limits.sweptAtOnce) continue
    await sweep()
    if (context.clock.now() >= startedAt + timing.sweepMs) break
  }
  await sweep()
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
