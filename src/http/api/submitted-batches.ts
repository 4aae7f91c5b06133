import { z } from 'zod'
import { mayUse } from '../../core/caller.ts'
import { failureKinds } from '../../core/jobs/failure.ts'
import { jobId, keyOf, parseJobId } from '../../core/jobs/keys.ts'
import { limits } from '../../core/limits.ts'
import type { JobState } from '../../core/jobs/job.ts'
import { errorCode } from '../../core/log-event.ts'
import { batchNamePattern } from '../../core/requests/submission.ts'
import { jobsOfBatch, retryJobs } from '../../pipeline/batches/batch-jobs.ts'
import { registerBatch } from '../../pipeline/batches/register.ts'
import { resultLines, type ResultPart } from '../../pipeline/batches/results.ts'
import { batchStatus, newBatchStatus, type BatchStatus } from '../../pipeline/status/status.ts'
import { submitBatch } from '../../pipeline/batches/submit.ts'
import { batchBody } from './batch-body.ts'
import { batchOrderSchema, orderOf } from './batch-order.ts'
import { batchName, getBatch, noBatch } from './batches.ts'
import { readBody } from '../body.ts'
import { withImages } from './inline-images.ts'
import { jobBody } from './jobs.ts'
import { readIdempotencyKey } from '../idempotency-key.ts'
import { readQuery } from '../query.ts'
import { reply, replyError, type Call, type Reply } from '../reply.ts'
import { csvOf, zipOf } from './results.ts'

/** POST /v1/batches: taken at once; its file is checked, whole, before anything of it starts. */
export async function postBatch(call: Call): Promise<Reply> {
  const { request, room, caller } = call
  const body = await readBody(request, batchOrderSchema)
  if (body.kind === 'refused') return body.reply
  const idempotency = readIdempotencyKey(request)
  if (idempotency.kind === 'refused') return idempotency.reply
  const { idempotencyKey } = idempotency
  const { input_file_id: fileId, cap_usd: capMicroUsd } = body.value
  const file = await room.files.get(fileId)
  if (file === undefined || !mayUse(caller, file.owner)) {
    const message = `input_file_id: file ${JSON.stringify(fileId)} does not exist; upload it with POST /v1/files`
    return replyError({ status: 400, param: 'input_file_id', code: 'invalid_value', message })
  }
  if (file.purpose !== 'batch') {
    const message = `input_file_id: the purpose of file ${fileId} is ${file.purpose}; allowed: batch`
    return replyError({ status: 400, param: 'input_file_id', code: 'invalid_value', message })
  }
  const least = Math.min(...room.pools.map(({ costs }) => costs.leastMicroUsd))
  if (typeof capMicroUsd === 'number' && capMicroUsd < least) {
    const message = 'cap_usd: it is less than one image can cost; raise it, or leave it out for no cap'
    return replyError({ status: 400, param: 'cap_usd', code: 'invalid_value', message })
  }
  const { order, terms } = orderOf(body.value, { caller, origin: new URL(request.url).origin })
  const webhookFault = order.webhook && room.webhooks.fault(order.webhook.url)
  if (webhookFault) {
    const message = `webhook: ${webhookFault}`
    return replyError({ status: 400, param: 'webhook', code: 'invalid_value', message })
  }
  const { batch, isNew } = await submitBatch(room, { owner: caller.key, idempotencyKey, order, terms })
  if (!isNew && JSON.stringify(batch.order) !== JSON.stringify(order)) {
    const message = `Idempotency-Key: batch ${batch.batch} has it already, and was asked for otherwise; use another`
    return replyError({ status: 409, param: 'Idempotency-Key', code: 'batch_exists', message })
  }
  // Nobody waits for it, and should this instance die the queue brings it to another: so it begins at once.
  void registerBatch(room, batch.batch).catch((error: unknown) => {
    room.log.event('batch_put_off', { batch: batch.batch, code: errorCode(error) })
  })
  if (!isNew) {
    const status = await batchStatus(room, batch.batch)
    const body = batchBody(status ?? newBatchStatus(batch))
    return reply(200, body, { 'idempotent-replayed': 'true' })
  }
  // It is there: an answer that failed now would make its sender send it, and pay for it, again.
  return reply(200, batchBody(newBatchStatus(batch)))
}

const listQuery = z.strictObject({
  limit: z.coerce.number('a number').int().min(1).max(limits.batchesPerPageMax).default(20),
  after: z.string().max(limits.batchNameCharsMax).regex(batchNamePattern, 'the id of a batch').optional(),
  kind: z.enum(['file', 'all']).default('file'),
})

/**
 * GET /v1/batches: newest first, the caller's own, or all for an admin. Those by file, as OpenAI's clients expect them: a
 * program that cancels all it is shown must not cancel a day's inbox. `kind=all` shows the others too.
 */
export async function getBatches({ request, room, caller }: Call): Promise<Reply> {
  const query = readQuery(request, listQuery)
  if (query.kind === 'refused') return query.reply
  const { limit, after, kind } = query.value
  const last = after === undefined ? undefined : await room.jobs.readBatch(after)
  if (after !== undefined && (last === undefined || !mayUse(caller, last.owner))) return noAfter(after)
  const owner = caller.isAdmin ? undefined : (caller.key ?? undefined)
  const page = await room.batches.page({ owner, after: last, limit, isSubmittedOnly: kind === 'file' })
  const found = await Promise.all(page.batches.map(async (batch) => batchStatus(room, batch)))
  const data = found.filter((status) => status !== undefined).map((status) => batchBody(status))
  return reply(200, listBody(data, page.batches, page.hasMore))
}

const jobsQuery = z.strictObject({
  status: z.enum(['queued', 'running', 'succeeded', 'failed', 'cancelled'] satisfies JobState[]).optional(),
  limit: z.coerce.number('a number').int().min(1).max(limits.jobsPerPageMax).default(20),
  after: z.string().max(limits.pathParameterCharsMax).optional(),
  custom_id: z.string().max(limits.customIdCharsMax).optional(),
})

/** GET /v1/batches/{name}/jobs: by their keys, or those of one status in the order in which they came to it. */
export async function getBatchJobs(call: Call): Promise<Reply> {
  const { request, room } = call
  const status = await ownBatch(call)
  if (status === undefined) return noBatch(request.params)
  const query = readQuery(request, jobsQuery)
  if (query.kind === 'refused') return query.reply
  const { batch } = status
  const { after, custom_id: customId, status: state, limit } = query.value
  if (customId !== undefined) {
    const found = await room.jobs.get({ batch, key: keyOf({ kind: 'custom-id', id: customId }) })
    const jobs = found === undefined ? [] : [found.job]
    return reply(
      200,
      listBody(
        jobs.map((job) => jobBody(request.url, job, null)),
        jobs.map(jobId),
        false,
      ),
    )
  }
  const last = after === undefined ? undefined : parseJobId(after)
  if (after !== undefined && last?.batch !== batch) return noAfter(after)
  const page = await jobsOfBatch(room, { batch, state, after: last?.key, limit })
  if (page === undefined) return noAfter(after ?? '')
  const { jobs, hasMore } = page
  return reply(
    200,
    listBody(
      jobs.map((job) => jobBody(request.url, job, null)),
      jobs.map(jobId),
      hasMore,
    ),
  )
}

const retrySchema = z.strictObject({
  kinds: z.array(z.enum(failureKinds)).min(1).default(['throttled', 'transient', 'unavailable', 'unknown']),
})

/** POST /v1/batches/{name}/retry: what failed for reasons that pass, or for those that are named, waits again. */
export async function postRetry(call: Call): Promise<Reply> {
  const { request, room } = call
  const status = await ownBatch(call)
  if (status === undefined) return noBatch(request.params)
  const body = await readBody(request, retrySchema)
  if (body.kind === 'refused') return body.reply
  const { batch } = status
  if (status.terms.decision?.kind === 'cancelled') {
    const message = `batch ${batch} was cancelled and stays so; submit its jobs as another`
    return replyError({ status: 409, code: 'batch_cancelled', message })
  }
  const { kinds } = body.value
  const { retried, isAll } = await retryJobs(room, { batch, kinds, failedBefore: room.clock.now() })
  const now = await getBatch(call)
  return reply(200, { object: 'batch.retry', retried, is_all: isAll, batch: now.jsonBody ?? null })
}

const resultsQuery = z.strictObject({
  format: z.enum(['jsonl', 'csv', 'zip']).default('jsonl'),
  part: z.enum(['output', 'errors', 'all'] satisfies ResultPart[]).default('all'),
  images: z.enum(['url', 'b64']).default('url'),
})

/** GET /v1/batches/{name}/results: what is finished so far, streamed; also while the batch runs. */
export async function getResults(call: Call): Promise<Reply> {
  const { request, room } = call
  const status = await ownBatch(call)
  if (status === undefined) return noBatch(request.params)
  const query = readQuery(request, resultsQuery)
  if (query.kind === 'refused') return query.reply
  const { format, part, images } = query.value
  if (images === 'b64' && format !== 'jsonl') {
    const message = `images: got "b64" with format ${format}; allowed: with jsonl only`
    return replyError({ status: 400, param: 'images', code: 'invalid_value', message })
  }
  const { batch } = status
  const results = { batch, part, origin: new URL(request.url).origin }
  const download = (contentType: string, body: AsyncIterable<Uint8Array>): Reply => ({
    status: 200,
    headers: {
      'content-type': contentType,
      'content-disposition': `attachment; filename="${batch}_${part}.${format}"`,
      'cache-control': 'no-store',
    },
    body,
  })
  switch (format) {
    case 'jsonl': {
      const lines = resultLines(room, results)
      return download('application/jsonl', images === 'b64' ? withImages(room, lines) : lines)
    }
    case 'csv':
      return download('text/csv; charset=utf-8', csvOf(room, results))
    case 'zip':
      return download('application/zip', zipOf(room, results))
  }
}

/** The batch of the path, if it is the caller's. */
export async function ownBatch({ request, room, caller }: Call): Promise<BatchStatus | undefined> {
  const name = batchName(request.params)
  const status = name === undefined ? undefined : await batchStatus(room, name)
  return status !== undefined && mayUse(caller, status.owner) ? status : undefined
}

function listBody(data: readonly object[], ids: readonly string[], hasMore: boolean): object {
  return {
    object: 'list',
    data,
    ...(ids.length > 0 ? { first_id: ids[0], last_id: ids.at(-1) } : {}),
    has_more: hasMore,
  }
}

function noAfter(after: string): Reply {
  const shown = JSON.stringify(after.slice(0, limits.quotedValueCharsMax))
  const message = `after: ${shown} is no entry of this list any more; list again from the start`
  return replyError({ status: 400, param: 'after', code: 'invalid_value', message })
}
