import { finalKinds, type FinalKind } from '../../core/jobs/job.ts'
import { limits } from '../../core/limits.ts'
import { mergeable, type LiveJob } from '../../core/batches/live.ts'
import type { Context } from '../context.ts'

type Reading = {
  readonly kind: FinalKind
  jobs: readonly LiveJob[]
  last: { readonly at: number; readonly key: string } | undefined
  isWhole: boolean
}

/** The jobs of a batch that finished from a time on, in order, a page at a time. */
export async function* finishedSince(
  context: Context,
  { batch, from }: { readonly batch: string; readonly from: number },
): AsyncGenerator<readonly LiveJob[]> {
  const readings = finalKinds.map((kind): Reading => ({ kind, jobs: [], last: undefined, isWhole: false }))
  for (;;) {
    await Promise.all(readings.map(async (reading) => readOn(context, batch, from, reading)))
    const page = mergeable(readings)
    if (page.length > 0) yield page
    const taken = new Set(page)
    for (const reading of readings) reading.jobs = reading.jobs.filter((job) => !taken.has(job))
    if (readings.every(({ jobs, isWhole }) => isWhole && jobs.length === 0)) return
  }
}

async function readOn(context: Context, batch: string, from: number, reading: Reading): Promise<void> {
  if (reading.jobs.length > 0 || reading.isWhole) return
  const limit = limits.finishedRowsAtOnce
  const { kind, last } = reading
  const after = last && { ...last, priority: null }
  const rows = await context.jobs.indexed({ batch, kind, after, from, limit })
  reading.jobs = rows.map(({ key, at, failure }) => ({ key, kind, finishedAt: at, failure }))
  reading.last = rows.at(-1) ?? last
  reading.isWhole = rows.length < limit
}
