import { makeZip } from 'client-zip'
import { stringify } from 'csv-stringify/sync'
import { z } from 'zod'
import type { Image, Job } from '../../../core/jobs/job.ts'
import { gathered } from '../../../core/pieces.ts'
import { imageUrl } from '../../../core/batches/result-line.ts'
import type { Context } from '../../../pipeline/context.ts'
import {
  finishedJobs,
  linesWithoutJobs,
  resultLines,
  type ResultPart,
} from '../../../pipeline/batches/results.ts'
import { exactSeconds, usd, type Call, type Reply, replyError } from '../../reply.ts'
import { attachment } from '../../attachment.ts'
import { readQuery } from '../../query.ts'
import { statusOfPath } from './batch-of-path.ts'
import { withImages } from '../inline-images.ts'
import { stateOf } from '../job-state.ts'

type Results = { readonly batch: string; readonly part: ResultPart; readonly origin: string }

const columns = [
  'custom_id',
  'status',
  'image',
  'url',
  'content_type',
  'width',
  'height',
  'bytes',
  'sha256',
  'cost_usd',
  'attempts',
  'failure_kind',
  'failure_code',
  'failure_message',
  'finished_at',
] as const

/** A row an image, and one for each job without any. Cells that a spreadsheet would run as formulas are quoted. */
async function* csvOf(context: Context, results: Results): AsyncGenerator<Uint8Array> {
  for await (const rows of gathered(allRows(context, results), { size: rowsAtOnce })) {
    yield Buffer.from(stringify([...rows], { escape_formulas: true, record_delimiter: 'windows' }))
  }
}

const rowsAtOnce = 500

async function* allRows(context: Context, { batch, part, origin }: Results): AsyncGenerator<unknown[]> {
  yield [...columns]
  for await (const job of finishedJobs(context, batch, part)) yield* rowsOf(job, origin)
  for await (const customId of linesWithoutJobs(context, batch, part)) {
    yield [customId ?? '', 'cancelled', ...columns.slice(2).map(() => '')]
  }
}

function rowsOf(job: Job, origin: string): readonly unknown[][] {
  const { phase } = job
  const finishedAt = 'finishedAt' in phase ? exactSeconds(phase.finishedAt) : ''
  const failure = phase.kind === 'failed' ? phase.failure : { kind: '', code: '', message: '' }
  const cost = phase.kind === 'succeeded' ? usd(phase.costMicroUsd) : ''
  const before = [job.customId ?? job.key, stateOf(job)]
  const after = [job.attempts, failure.kind, failure.code, failure.message, finishedAt]
  if (phase.kind !== 'succeeded') return [[...before, '', '', '', '', '', '', '', cost, ...after]]
  return phase.images.map((image, k) => {
    const { contentType, width, height, sizeBytes, sha256 } = image
    const url = imageUrl(job, k, origin)
    // The call's cost stands with its first image, so that a column adds up.
    return [
      ...before,
      nameOf(job, image, k),
      url,
      contentType,
      width,
      height,
      sizeBytes,
      sha256,
      k === 0 ? cost : 0,
      ...after,
    ]
  })
}

/** The images of the jobs that succeeded, behind a manifest of all: `manifest.csv`, `manifest.jsonl`, `images/…`. */
function zipOf(context: Context, results: Results): AsyncIterable<Uint8Array> {
  return makeZip(entries(context, results), { buffersAreUTF8: true })
}

async function* entries(
  context: Context,
  results: Results,
): AsyncGenerator<{ name: string; lastModified: Date; input: AsyncIterable<Uint8Array> }> {
  const lastModified = new Date(context.clock.now())
  yield { name: 'manifest.csv', lastModified, input: csvOf(context, results) }
  yield { name: 'manifest.jsonl', lastModified, input: resultLines(context, results) }
  for await (const job of finishedJobs(context, results.batch, results.part)) {
    if (job.phase.kind !== 'succeeded') continue
    for (const [k, image] of job.phase.images.entries()) {
      const input = await context.images.open(image)
      // Somebody deleted it; the manifest still tells of it.
      if (input === undefined) continue
      yield { name: nameOf(job, image, k), lastModified: new Date(job.phase.finishedAt), input }
    }
  }
}

/** The job's key is unique in its batch, and safe as a file's name. */
function nameOf({ key }: Job, { blob }: Image, k: number): string {
  return `images/${key}-${k}${blob.slice(blob.lastIndexOf('.'))}`
}

const resultsQuery = z.strictObject({
  format: z.enum(['jsonl', 'csv', 'zip']).default('jsonl'),
  part: z.enum(['output', 'errors', 'all'] satisfies ResultPart[]).default('all'),
  images: z.enum(['url', 'b64']).default('url'),
})

/** GET /v1/batches/{name}/results: what is finished so far, streamed; also while the batch runs. */
export async function getResults(call: Call): Promise<Reply> {
  const { request, context } = call
  const found = await statusOfPath(call)
  if (found.kind === 'refused') return found.reply
  const query = readQuery(request, resultsQuery)
  if (query.kind === 'refused') return query.reply
  const { format, part, images } = query.value
  if (images === 'b64' && format !== 'jsonl') {
    const message = `images: got "b64" with format ${format}; allowed: with jsonl only`
    return replyError({ status: 400, param: 'images', code: 'invalid_value', message })
  }
  const { batch } = found.status
  const results = { batch, part, origin: new URL(request.url).origin }
  const download = (contentType: string, body: AsyncIterable<Uint8Array>): Reply => ({
    status: 200,
    headers: {
      'content-type': contentType,
      'content-disposition': attachment(`${batch}_${part}.${format}`),
      'cache-control': 'no-store',
    },
    body,
  })
  switch (format) {
    case 'jsonl': {
      const lines = resultLines(context, results)
      return download('application/jsonl', images === 'b64' ? withImages(context, lines) : lines)
    }
    case 'csv':
      return download('text/csv; charset=utf-8', csvOf(context, results))
    case 'zip':
      return download('application/zip', zipOf(context, results))
  }
}
