import { jobCounts, noCounters } from '../../core/jobs/counters.ts'
import { failure } from '../../core/jobs/failure.ts'
import { newJob, rejectedJob, type Job } from '../../core/jobs/job.ts'
import { keyOf } from '../../core/jobs/keys.ts'
import { limits } from '../../core/limits.ts'
import { gathered } from '../../core/pieces.ts'
import { timing } from '../../core/timing.ts'
import type { Batch } from '../../ports/batches.ts'
import { announce, wake } from '../pacing/announce.ts'
import { costsOf, type Context } from '../context.ts'
import { tellBatchEnd } from '../webhooks/webhooks.ts'
import { keepInputs } from '../intake/inputs.ts'
import { cancelBatch } from './batches.ts'
import { leaseBatch, released, type BatchLease } from './batch-lease.ts'
import { checkFile, FileGone, submittedLines, type SubmittedLine } from './batch-file.ts'

/**
 * Checks a submitted batch's file and makes its lines jobs. It may be called again at any time: it goes on where it was,
 * a line that is a job already stays one, and while somebody is at it nothing is done.
 */
export async function registerBatch(context: Context, batch: string): Promise<void> {
  const lease = await leaseBatch(
    context,
    { task: 'register', batch },
    ({ kind }) => kind === 'validating' || kind === 'registering',
  )
  if (lease === undefined) return
  const stored = lease.batch
  const validated = stored.progress?.kind === 'validating' ? await validate(context, lease) : stored
  if (validated?.progress?.kind !== 'registering') return
  await register(context, { ...lease, batch: validated }, validated.progress)
}

/** The whole file is checked before a cent is spent. */
async function validate(context: Context, lease: BatchLease): Promise<Batch | undefined> {
  const { batch, order } = lease.batch
  if (order === null) return undefined
  const checked = await checkFile(context, order, lease)
  if (checked.kind === 'faulty') {
    await context.batches.saveFaults(batch, checked.faults)
    context.log.event('batch_refused', { batch, faults: checked.count, code: checked.faults[0]?.code })
    const failedAt = context.clock.now()
    await tellBatchEnd(context, {
      batch,
      status: 'failed',
      endedAt: failedAt,
      outputFileId: null,
      errorFileId: null,
      counts: jobCounts(noCounters),
    })
    await context.batches.changeBatch(batch, (now) =>
      now.progress?.kind === 'validating'
        ? released(now, { kind: 'failed', failedAt, faults: checked.count })
        : undefined,
    )
    return undefined
  }
  const { pool, total } = checked
  const validatedAt = context.clock.now()
  return context.batches.changeBatch(batch, (now) =>
    now.progress?.kind === 'validating'
      ? { ...now, pool, progress: { kind: 'registering', validatedAt, total, registered: 0 } }
      : undefined,
  )
}

type Registering = Extract<Batch['progress'], { kind: 'registering' }>

/** Jobs start while others are still being written: the first ones are announced at once. */
async function register(context: Context, lease: BatchLease, progress: Registering): Promise<void> {
  const stored = lease.batch
  const { batch } = stored
  const { validatedAt, total } = progress
  try {
    if ((await addLines(context, lease, progress)) === 'to-be-continued') {
      await context.batches.changeBatch(batch, (now) => ({ ...now, workedOnUntil: 0 }))
      await context.messages.sendBatchTask({ task: 'register', batch }, context.clock.now())
      return
    }
  } catch (error) {
    if (!(error instanceof FileGone)) throw error
    // Who deletes the file takes back what is left of the batch.
    await cancelBatch(context, batch, 'its input file was deleted before all of its lines were jobs')
  }
  await context.batches.changeBatch(batch, (now) =>
    now.progress?.kind === 'registering'
      ? released(now, { kind: 'registered', validatedAt, total })
      : undefined,
  )
  context.log.event('batch_registered', { batch, jobs: total })
  await announce(context, stored)
  // All may be finished already, or cancelled.
  await context.messages.sendBatchTask({ task: 'finalise', batch }, context.clock.now())
}

async function addLines(
  context: Context,
  lease: BatchLease,
  progress: Registering,
): Promise<'done' | 'to-be-continued'> {
  const stored = lease.batch
  const { order } = stored
  const endAt = context.clock.now() + timing.registerMs
  let count = progress.registered
  // Before the jobs: those without a flow would be seen by nobody if this instance died here.
  if (order === null || (await isCancelled(context, stored))) return 'done'
  const rest = submittedLines(context, order, progress.registered)
  for await (const jobs of gathered(jobsOf(context, lease, rest), { size: limits.registeringAtOnce })) {
    await add(context, jobs)
    if (jobs.length < limits.registeringAtOnce) break
    const isFirst = count === progress.registered
    count += jobs.length
    if (isFirst) await announce(context, stored)
    if (count % markEvery >= limits.registeringAtOnce) continue
    await context.batches.changeBatch(stored.batch, (now) => further(now, { ...progress, registered: count }))
    if (await isCancelled(context, stored)) return 'done'
    // A function does not run for ever: the next one goes on from the mark.
    if (context.clock.now() > endAt || context.stopping.aborted) return 'to-be-continued'
  }
  return 'done'
}

async function* jobsOf(
  context: Context,
  { batch, renew }: BatchLease,
  lines: AsyncIterable<SubmittedLine>,
): AsyncGenerator<Job> {
  for await (const line of lines) {
    const job = await jobOf(context, batch, line)
    await renew()
    yield job
  }
}

/** How many lines are made jobs between two marks; what lies behind the last is gone through again after a death. */
const markEvery = 2_000

/** Sees to it that the batch's flow stands in the pool, awake. */
async function isCancelled(context: Context, ref: Batch): Promise<boolean> {
  const { decision } = await wake(context, ref)
  return decision?.kind === 'cancelled'
}

async function add(context: Context, jobs: readonly Job[]): Promise<void> {
  await Promise.all(jobs.map(async (job) => context.jobs.add(job)))
}

function further(now: Batch, progress: Registering): Batch | undefined {
  const isBehind = now.progress?.kind === 'registering' && now.progress.registered < progress.registered
  return isBehind ? { ...now, progress } : undefined
}

/** The order of the lines is that of their times: a microsecond apart, the same whenever they are written. */
async function jobOf(
  context: Context,
  { batch, pool, createdAt, order }: Batch,
  { number, text, read }: SubmittedLine,
): Promise<Job> {
  const now = createdAt + number / 1_000
  const ofBatch = { batch, pool, onUnknown: order?.onUnknown ?? null, now }
  if (read.kind === 'fault') {
    const { code, message } = read.fault
    const key = keyOf({ kind: 'rejected', id: `line ${number}` })
    return rejectedJob({
      ...ofBatch,
      key,
      customId: null,
      metadata: null,
      failure: failure('invalid', code, `line ${number}: ${message}`),
      input: text,
    })
  }
  const { customId, metadata, priority } = read.submission
  const key = keyOf({ kind: 'custom-id', id: customId })
  // One line after the other: each may bring megabytes of images.
  const request = await keepInputs(context, { batch, key }, read.submission.request)
  const prefix = order?.outputPrefix ?? null
  const output = prefix === null ? null : `${prefix}${key}`
  const upperMicroUsd = costsOf(context, pool).upperMicroUsd(request)
  return newJob({ ...ofBatch, key, customId, metadata, request, priority, output, upperMicroUsd })
}
