import { isSubmitted, timedId } from '../../core/timed-id.ts'
import type { BatchProgress, Results } from '../../core/batches/batch-progress.ts'
import { jobCounts, type JobCounts } from '../../core/jobs/counters.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { Context } from '../context.ts'
import { batchStatus } from '../status/status.ts'
import { tellBatchEnd } from '../webhooks/webhooks.ts'
import { leaseBatch, released, type BatchLease } from './batch-lease.ts'
import { resultLines } from './results.ts'

/** What a look at the end of a batch came to. */
type EndLook =
  | 'finished'
  /** Calls are under way, or slots held: looked at again soon. */
  | 'later'
  /** Jobs wait, or it was finished before: who gives the last of them their slots looks again. */
  | 'nothing'

/**
 * Writes a submitted batch's result files when all its jobs are finished. It may be called at any time, again, and by
 * several at once: the files have the names that the first of them chose, and always the same content.
 */
export async function finaliseBatch(context: Context, batch: string): Promise<EndLook> {
  const stored = await context.batches.getBatch(batch)
  if (stored === undefined || !isUnfinalised(stored.batch.progress)) return 'nothing'
  const counts = jobCounts(stored.counters)
  if (counts.waiting + counts.running > 0) {
    // Those that hold a slot are counted as waiting.
    const waiting = await context.jobs.firstWaiting({ batch, limit: 1 })
    if (waiting.length > 0) return 'nothing'
    const lookAt = context.clock.now() + timing.endLookMs
    await context.messages.sendBatchTask({ task: 'finalise', batch }, lookAt)
    return 'later'
  }
  const lease = await leaseBatch(context, { task: 'finalise', batch }, isUnfinalised)
  if (lease === undefined) return 'later'
  const begun = await context.batches.changeBatch(batch, (now) => {
    const results = finalizing(context, now.progress, counts)
    return results && { ...now, progress: results }
  })
  if (begun?.progress?.kind !== 'finalizing') return 'nothing'
  if (!(await isStillSo(context, batch, counts))) {
    await takeResultsBack(context, batch)
    return 'later'
  }
  const { outputFileId, errorFileId } = begun.progress
  await writeFile(context, { ...lease, batch: begun }, { id: outputFileId, part: 'output' })
  await writeFile(context, { ...lease, batch: begun }, { id: errorFileId, part: 'errors' })
  await tellEnd(context, batch, begun.progress)
  const finishedAt = context.clock.now()
  const finished = await context.batches.changeBatch(batch, (now) =>
    now.progress?.kind === 'finalizing' && isOf(now.progress)
      ? released(now, { ...now.progress, kind: 'finished', finishedAt })
      : undefined,
  )
  const progress = finished?.progress
  if (progress?.kind === 'finished' && isOf(progress)) {
    context.log.event('batch_finalised', { batch, ...counts })
    return 'finished'
  }
  // Jobs were asked for again meanwhile: what was written is of a batch that goes on.
  const isInUse = progress?.kind === 'finalizing' && isOf(progress)
  for (const id of [outputFileId, errorFileId]) if (id !== null && !isInUse) await context.files.remove(id)
  return 'nothing'

  function isOf(results: Results): boolean {
    return results.outputFileId === outputFileId && results.errorFileId === errorFileId
  }
}

/**
 * Jobs that were asked for again since they were counted. A retry lets them wait first and then takes the results back:
 * either it finds the results begun, or they are seen here.
 */
async function isStillSo(context: Context, batch: string, counts: JobCounts): Promise<boolean> {
  const now = await context.batches.getBatch(batch)
  return now !== undefined && JSON.stringify(jobCounts(now.counters)) === JSON.stringify(counts)
}

/** A submitted batch with unfinished jobs is not finished; its results are written anew when it is. */
export async function takeResultsBack(context: Context, batch: string): Promise<void> {
  if (!isSubmitted(batch)) return
  let old: readonly (string | null)[] = []
  await context.batches.changeBatch(batch, (now) => {
    const { progress } = now
    old = []
    if (progress?.kind !== 'finished' && progress?.kind !== 'finalizing') return undefined
    const { validatedAt, total, outputFileId, errorFileId } = progress
    old = [outputFileId, errorFileId]
    // Who is writing them goes on until it sees it: the lease stays.
    return { ...now, progress: { kind: 'registered', validatedAt, total } }
  })
  for (const id of old) if (id !== null) await context.files.remove(id)
}

function isUnfinalised(progress: BatchProgress | null): boolean {
  return progress?.kind === 'registered' || progress?.kind === 'finalizing'
}

async function tellEnd(context: Context, batch: string, results: Results): Promise<void> {
  const status = await batchStatus(context, batch)
  if (status === undefined) return
  const { outputFileId, errorFileId, finalizingAt } = results
  const { terms, counts } = status
  const end = terms.decision?.kind === 'cancelled' ? 'cancelled' : 'completed'
  await tellBatchEnd(context, {
    batch,
    status: end,
    endedAt: finalizingAt,
    outputFileId,
    errorFileId,
    counts,
  })
}

/** A batch that was opened again and finished again has files of its own once more. */
function finalizing(
  context: Context,
  progress: BatchProgress | null,
  { succeeded }: JobCounts,
): BatchProgress | undefined {
  if (progress?.kind !== 'registered') return undefined
  const finalizingAt = context.clock.now()
  const newFile = (): string => timedId('file-', finalizingAt, context.newId())
  return {
    kind: 'finalizing',
    validatedAt: progress.validatedAt,
    total: progress.total,
    finalizingAt,
    outputFileId: succeeded > 0 ? newFile() : null,
    // Lines that never became jobs are told there too.
    errorFileId: progress.total > succeeded ? newFile() : null,
  }
}

async function writeFile(
  context: Context,
  { batch: { batch, owner, order }, renew }: BatchLease,
  { id, part }: { readonly id: string | null; readonly part: 'output' | 'errors' },
): Promise<void> {
  if (id === null) return
  const saved = await context.files.save({
    id,
    owner,
    filename: `${batch}_${part}.jsonl`,
    purpose: 'batch_output',
    expiresAfterMs: order?.outputExpiresAfterMs ?? null,
    sizeBytesMax: limits.resultFileBytesMax,
    content: renewing(resultLines(context, { batch, part, origin: order?.origin ?? '' }), renew),
  })
  if (saved.kind === 'too-large')
    throw new Error(`the ${part} of batch ${batch} pass ${limits.resultFileBytesMax} bytes`)
}

async function* renewing(
  content: AsyncIterable<Uint8Array>,
  renew: () => Promise<void>,
): AsyncIterable<Uint8Array> {
  for await (const piece of content) {
    await renew()
    yield piece
  }
}
