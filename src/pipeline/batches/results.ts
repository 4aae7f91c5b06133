import type { Job } from '../../core/jobs/job.ts'
import { isFinal } from '../../core/jobs/job.ts'
import { jobCounts } from '../../core/jobs/counters.ts'
import { limits } from '../../core/limits.ts'
import { cancelledLine, resultLine } from '../../core/batches/result-line.ts'
import { FileGone, submittedLines } from './batch-file.ts'
import type { Context } from '../context.ts'

/** Which jobs' results: those that succeeded, those that did not, or all that are finished. */
export type ResultPart = 'output' | 'errors' | 'all'

/** The finished jobs of a batch in the order of their keys, a page at a time; those that are running now are passed over. */
export async function* finishedJobs(context: Context, batch: string, part: ResultPart): AsyncGenerator<Job> {
  let after: string | undefined
  for (;;) {
    const page = await context.jobs.list({ batch, after, limit: limits.recordsAtOnce, isBrief: true })
    for (const job of page) if (isFinal(job) && belongsTo(job, part)) yield job
    after = page.at(-1)?.key
    if (page.length < limits.recordsAtOnce || after === undefined) return
  }
}

function belongsTo({ phase }: Job, part: ResultPart): boolean {
  return part === 'all' || (phase.kind === 'succeeded') === (part === 'output')
}

/** Results as JSON lines, gathered into pieces of some size. */
export async function* resultLines(
  context: Context,
  { batch, part, origin }: { readonly batch: string; readonly part: ResultPart; readonly origin: string },
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  let text = ''
  for await (const job of finishedJobs(context, batch, part)) {
    text += `${JSON.stringify(resultLine(job, origin))}\n`
    if (text.length < pieceChars) continue
    yield encoder.encode(text)
    text = ''
  }
  for await (const customId of linesWithoutJobs(context, batch, part)) {
    text += `${JSON.stringify(cancelledLine(batch, customId))}\n`
    if (text.length < pieceChars) continue
    yield encoder.encode(text)
    text = ''
  }
  if (text !== '') yield encoder.encode(text)
}

/**
 * The custom ids of lines that never became jobs, because the batch was cancelled while they were about to: lines become
 * jobs in their order. None where the file is gone.
 */
export async function* linesWithoutJobs(
  context: Context,
  batch: string,
  part: ResultPart,
): AsyncGenerator<string | null> {
  const stored = part === 'output' ? undefined : await context.batches.getBatch(batch)
  const { progress = null, order = null } = stored?.batch ?? {}
  const isWhole = progress !== null && 'finalizingAt' in progress
  const jobs = stored === undefined ? 0 : jobCounts(stored.counters).total
  if (!isWhole || order === null || jobs >= progress.total) return
  try {
    for await (const { read } of submittedLines(context, order, jobs)) {
      yield read.kind === 'job' ? read.submission.customId : null
    }
  } catch (error) {
    if (!(error instanceof FileGone)) throw error
  }
}

/** Some hundred lines: fewer, larger writes. */
const pieceChars = 64 * 1024
