import { z } from 'zod'
import { limits } from '../../../core/limits.ts'
import { type Call, type Reply, reply, replyError } from '../../reply.ts'
import { pauseBatch, resumeBatch, cancelBatch, type Decided } from '../../../pipeline/batches/batches.ts'
import type { Decision } from '../../../core/budget/fairness.ts'
import { readBody } from '../../body/body.ts'
import { failureKinds } from '../../../core/jobs/failure.ts'
import { retryJobs } from '../../../pipeline/batches/batch-jobs.ts'
import { atItsEnd, batchOfPath, beingChecked, noBatch, statusOfPath } from './batch-of-path.ts'
import { getBatch } from './batches.ts'

const reasonSchema = z.strictObject({ reason: z.string().trim().max(limits.reasonCharsMax).optional() })

/** POST /v1/batches/{name}/pause: nothing of it gets a slot until it is resumed. */
export async function postPause(call: Call): Promise<Reply> {
  return decided(call, 'paused', async (name, reason) => pauseBatch(call.context, name, reason))
}

/** POST /v1/batches/{name}/resume */
export async function postResume(call: Call): Promise<Reply> {
  return decided(call, 'resumed', async (name, reason) => resumeBatch(call.context, name, reason))
}

/** POST /v1/batches/{name}/cancel: answers when no further call of it will start. */
export async function postCancel(call: Call): Promise<Reply> {
  return decided(call, 'cancelled', async (name, reason) => cancelBatch(call.context, name, reason))
}

async function decided(
  call: Call,
  what: Decision['kind'],
  act: (name: string, reason: string) => Promise<Decided>,
): Promise<Reply> {
  const found = await batchOfPath(call)
  if (found.kind === 'refused') return found.reply
  const { name } = found
  const body = await readBody(call.request, reasonSchema)
  if (body.kind === 'refused') return body.reply
  const done = await act(name, body.value.reason ?? `${what} by request`)
  switch (done.kind) {
    case 'done':
      return getBatch(call)
    case 'unknown-batch':
      return noBatch(name)
    case 'being-checked':
      return beingChecked(name)
    case 'finished-before':
      return atItsEnd(name, 'completed')
    case 'cancelled-before': {
      const message = `batch ${name} was cancelled and stays so; send its jobs under another name`
      return replyError({ status: 409, code: 'batch_cancelled', message })
    }
  }
}

const retrySchema = z.strictObject({
  kinds: z.array(z.enum(failureKinds)).min(1).default(['throttled', 'transient', 'unavailable', 'unknown']),
})

/** POST /v1/batches/{name}/retry: what failed for reasons that pass, or for those that are named, waits again. */
export async function postRetry(call: Call): Promise<Reply> {
  const { request, context } = call
  const found = await statusOfPath(call)
  if (found.kind === 'refused') return found.reply
  const body = await readBody(request, retrySchema)
  if (body.kind === 'refused') return body.reply
  const { batch, terms } = found.status
  if (terms.decision?.kind === 'cancelled') {
    const message = `batch ${batch} was cancelled and stays so; submit its jobs as another`
    return replyError({ status: 409, code: 'batch_cancelled', message })
  }
  const { kinds } = body.value
  const { retried, isAll } = await retryJobs(context, { batch, kinds, failedBefore: context.clock.now() })
  const now = await getBatch(call)
  return reply(200, { object: 'batch.retry', retried, is_all: isAll, batch: now.jsonBody ?? null })
}
