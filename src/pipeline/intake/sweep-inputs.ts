import { jobOfInput } from '../../core/requests/input-ref.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { Darkroom } from '../darkroom.ts'

/**
 * Removes images that were kept for jobs which are long finished, or never came to be; answers how many. What users put
 * into the container themselves is theirs.
 */
export async function sweepInputs(room: Darkroom): Promise<number> {
  const startedAt = room.clock.now()
  let removed = 0
  let names: string[] = []
  const sweep = async (): Promise<void> => {
    const done = await Promise.all(names.map(async (name) => removeIfDone(room, name)))
    removed += done.filter(Boolean).length
    names = []
  }
  for await (const name of room.inputs.keptBefore(startedAt - timing.inputsKeptMs)) {
    names.push(name)
    if (names.length < limits.sweptAtOnce) continue
    await sweep()
    if (room.clock.now() >= startedAt + timing.sweepMs) break
  }
  await sweep()
  return removed
}

async function removeIfDone(room: Darkroom, name: string): Promise<boolean> {
  const ref = jobOfInput(name)
  if (ref === undefined) return false
  const stored = await room.jobs.get(ref)
  if (stored !== undefined) {
    const { job } = stored
    const finishedAt = 'finishedAt' in job.phase ? job.phase.finishedAt : Infinity
    if (finishedAt >= room.clock.now() - timing.inputsKeptMs) return false
  }
  await room.inputs.remove(name)
  return true
}
