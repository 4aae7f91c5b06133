import { z } from 'zod'
import { meanCallMs } from '../../../core/budget/estimate.ts'
import { limits } from '../../../core/limits.ts'
import { capUsdSchema } from '../../../core/costs/money.ts'
import { priorities, batchNamePattern } from '../../../core/requests/submission.ts'
import { changeBatch, type Changed } from '../../../pipeline/batches/change-batch.ts'
import type { Context } from '../../../pipeline/context.ts'
import { mayOpen } from '../../../pipeline/intake/owners.ts'
import { batchStatus, type BatchStatus, newBatchStatus } from '../../../pipeline/status/status.ts'
import { readBody } from '../../body/body.ts'
import { pollSoonMs, reply, replyError, retryAfter, usd, type Call, type Reply } from '../../reply.ts'
import { readIdempotencyKey } from '../../idempotency-key.ts'
import { mayUse } from '../../../core/caller.ts'
import { submitBatch } from '../../../pipeline/batches/submit.ts'
import { readQuery } from '../../query.ts'
import { endsOf, listBody, noAfter } from '../../list.ts'
import { batchBody, type BatchDetails } from './batch-body.ts'
import { atItsEnd, batchOfPath, beingChecked, noBatch, statusOfPath } from './batch-of-path.ts'
import { askedBatch, batchOrderSchema } from './batch-order.ts'

/** GET /v1/batches/{name} */
export async function getBatch(call: Call): Promise<Reply> {
  const { context } = call
  const found = await statusOfPath(call)
  if (found.kind === 'refused') return found.reply
  const { status } = found
  const { status: state } = status
  const isFinished = state === 'completed' || state === 'cancelled' || state === 'failed'
  const headers = isFinished
    ? {}
    : { 'retry-after': retryAfter(worthAskingAt(status, context.clock.now()), context.clock.now()) }
  return reply(200, batchBody(status, await detailsOf(context, status)), headers)
}

/**
 * When the batch may be done; null: when a person acts. Its last calls may be over at any moment: how long calls take
 * is a guess.
 */
function worthAskingAt(batch: BatchStatus, now: number): number | null {
  const { status, counts, estimatedFinishAt } = batch
  const isEnding = counts.waiting === 0 && counts.running > 0
  if (isEnding || status !== 'in_progress') return now + pollSoonMs
  return estimatedFinishAt === null ? null : Math.max(now + pollSoonMs, estimatedFinishAt - meanCallMs(batch))
}

/** Faults, and tries of a webhook, are read only where there may be any. */
async function detailsOf(context: Context, { batch, progress, order }: BatchStatus): Promise<BatchDetails> {
  const [faults, log] = await Promise.all([
    progress?.kind === 'failed' ? context.batches.faults(batch) : [],
    order?.webhook ? context.batches.readHookLog(batch) : undefined,
  ])
  return { faults, deliveries: order?.webhook ? (log?.deliveries ?? []) : undefined }
}

const changesSchema = z.strictObject({
  model: z.string().max(limits.batchNameCharsMax).optional(),
  priority: z.enum(priorities).optional(),
  cap_usd: capUsdSchema.nullable().optional(),
})

/** PATCH /v1/batches/{name}: priority and cap, also while it runs, and before its first job, for the model named. */
export async function patchBatch(call: Call): Promise<Reply> {
  const { request, context, caller } = call
  const found = await batchOfPath(call, mayOpen)
  if (found.kind === 'refused') return found.reply
  const { name } = found
  const body = await readBody(request, changesSchema)
  if (body.kind === 'refused') return body.reply
  const { priority, cap_usd: capMicroUsd, model } = body.value
  if (priority === undefined && capMicroUsd === undefined) {
    const message = 'the body changes nothing; allowed: priority, cap_usd, or both'
    return replyError({ status: 400, code: 'missing_required_parameter', message })
  }
  const changed = await changeBatch(context, { batch: name, model }, { priority, capMicroUsd }, caller)
  return changed.kind === 'done' ? getBatch(call) : unchanged(name, changed, body.value)
}

function unchanged(
  batch: string,
  refusal: Exclude<Changed, { kind: 'done' }>,
  { model, cap_usd: capMicroUsd = null }: z.output<typeof changesSchema>,
): Reply {
  switch (refusal.kind) {
    case 'unknown-batch':
      return noBatch(batch)
    case 'being-checked':
      return beingChecked(batch)
    case 'failed-before':
      return atItsEnd(batch, 'failed')
    case 'unknown-model':
      return invalid('model', got(model, 'a model, or a deployment, of the settings'))
    case 'other-pool':
      return invalid('model', got(model, `one of the pool ${refusal.pool}, to which the batch belongs`))
    case 'cap-too-low': {
      const allowed = `at least ${usd(refusal.leastMicroUsd)}, what one image can cost, or null for no cap`
      return invalid('cap_usd', got(usd(capMicroUsd), allowed))
    }
  }
}

function got(value: string | number | null | undefined, allowed: string): string {
  return `got ${JSON.stringify(value)}; allowed: ${allowed}`
}

function invalid(param: string, fault: string): Reply {
  return replyError({ status: 400, param, code: 'invalid_value', message: `${param}: ${fault}` })
}

/** POST /v1/batches: taken at once; its file is checked, whole, before anything of it starts. */
export async function postBatch({ request, context, caller }: Call): Promise<Reply> {
  const body = await readBody(request, batchOrderSchema)
  if (body.kind === 'refused') return body.reply
  const idempotency = readIdempotencyKey(request)
  if (idempotency.kind === 'refused') return idempotency.reply
  const { idempotencyKey } = idempotency
  const asked = askedBatch(body.value, { origin: new URL(request.url).origin })
  const submitted = await submitBatch(context, { ...asked, idempotencyKey }, caller)
  switch (submitted.kind) {
    case 'taken':
      // It is there: an answer that failed now would make its sender send it, and pay for it, again.
      return reply(200, batchBody(newBatchStatus(submitted.batch)))
    case 'taken-before': {
      const status = await batchStatus(context, submitted.batch.batch)
      const replayed = batchBody(status ?? newBatchStatus(submitted.batch))
      return reply(200, replayed, { 'idempotent-replayed': 'true' })
    }
    case 'key-taken': {
      const message = `Idempotency-Key: batch ${submitted.batch.batch} has it already, and was asked for otherwise; use another`
      return replyError({ status: 409, param: 'Idempotency-Key', code: 'batch_exists', message })
    }
    case 'no-file': {
      const fileId = JSON.stringify(submitted.fileId)
      return invalid('input_file_id', `file ${fileId} does not exist; upload it with POST /v1/files`)
    }
    case 'wrong-purpose': {
      const { id, purpose } = submitted.file
      return invalid('input_file_id', `the purpose of file ${id} is ${purpose}; allowed: batch`)
    }
    case 'cap-too-low':
      return invalid('cap_usd', 'it is less than one image can cost; raise it, or leave it out for no cap')
    case 'bad-webhook':
      return invalid('webhook', submitted.fault)
  }
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
export async function getBatches({ request, context, caller }: Call): Promise<Reply> {
  const query = readQuery(request, listQuery)
  if (query.kind === 'refused') return query.reply
  const { limit, after, kind } = query.value
  const last = after === undefined ? undefined : await context.batches.readBatch(after)
  if (after !== undefined && (last === undefined || !mayUse(caller, last.owner))) return noAfter(after)
  const owner = caller.isAdmin ? undefined : (caller.key ?? undefined)
  const page = await context.batchList.page({ owner, after: last, limit, isSubmittedOnly: kind === 'file' })
  const found = await Promise.all(page.batches.map(async (batch) => batchStatus(context, batch)))
  const data = found.filter((status) => status !== undefined).map((status) => batchBody(status))
  return reply(200, listBody(data, { ...endsOf(page.batches), hasMore: page.hasMore }))
}
