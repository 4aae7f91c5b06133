import { z } from 'zod'
import { isSubmitted } from '../../core/batches/batch-order.ts'
import { mayUse } from '../../core/caller.ts'
import { type Decision } from '../../core/budget/fairness.ts'
import { meanCallMs } from '../../core/budget/estimate.ts'
import { ownerOfInbox } from '../../core/jobs/keys.ts'
import { limits } from '../../core/limits.ts'
import { capUsdSchema } from '../../core/costs/money.ts'
import { batchNamePattern, priorities } from '../../core/requests/submission.ts'
import {
  cancelBatch,
  changeBatch,
  pauseBatch,
  resumeBatch,
  type Decided,
} from '../../pipeline/batches/batches.ts'
import type { Darkroom } from '../../pipeline/darkroom.ts'
import { knownBatch } from '../../pipeline/intake/known-batch.ts'
import { mayReach } from '../../pipeline/intake/owners.ts'
import { batchStatus, type BatchStatus } from '../../pipeline/status/status.ts'
import { batchBody, type BatchDetails } from './batch-body.ts'
import { readBody } from '../body.ts'
import { notFound, pollSoonMs, reply, replyError, retryAfter, usd, type Call, type Reply } from '../reply.ts'

/** GET /v1/batches/{name} */
export async function getBatch({ request, room, caller }: Call): Promise<Reply> {
  const name = batchName(request.params)
  const isTheirs = name !== undefined && (await mayReach(room, caller, name))
  const status = isTheirs ? await batchStatus(room, name) : undefined
  if (status === undefined) return noBatch(request.params)
  const { status: state } = status
  const isFinished = state === 'completed' || state === 'cancelled' || state === 'failed'
  const headers = isFinished
    ? {}
    : { 'retry-after': retryAfter(worthAskingAt(status, room.clock.now()), room.clock.now()) }
  return reply(200, batchBody(status, await detailsOf(room, status)), headers)
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
async function detailsOf(room: Darkroom, { batch, progress, order }: BatchStatus): Promise<BatchDetails> {
  const [faults, log] = await Promise.all([
    progress?.kind === 'failed' ? room.jobs.faults(batch) : [],
    order?.webhook ? room.jobs.readHookLog(batch) : undefined,
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
  const { request, room, caller } = call
  const name = batchName(request.params)
  if (name === undefined || !(await mayOpen(call, name))) return noBatch(request.params)
  const body = await readBody(request, changesSchema)
  if (body.kind === 'refused') return body.reply
  const { priority, cap_usd: capMicroUsd, model } = body.value
  if (priority === undefined && capMicroUsd === undefined) {
    const message = 'the body changes nothing; allowed: priority, cap_usd, or both'
    return replyError({ status: 400, code: 'missing_required_parameter', message })
  }
  const [first] = room.pools
  const known = await batchStatus(room, name)
  if (known?.progress?.kind === 'validating') return beingChecked(name)
  if (known?.progress?.kind === 'failed') return atItsEnd(name, 'failed')
  const asked = model === undefined ? first?.name : room.poolOfModel(model)
  const pool = known?.pool ?? asked
  if (pool === undefined || (model !== undefined && asked !== pool)) {
    const message = `model: got ${JSON.stringify(model)}; allowed: ${known === undefined ? 'a model, or a deployment, of the settings' : `one of the pool ${known.pool}, to which the batch belongs`}`
    return replyError({ status: 400, param: 'model', code: 'invalid_value', message })
  }
  const least = room.pools.find((each) => each.name === pool)?.costs.leastMicroUsd ?? 0
  if (typeof capMicroUsd === 'number' && capMicroUsd < least) {
    const message = `cap_usd: got ${usd(capMicroUsd)}; allowed: at least ${usd(least)}, what one image can cost, or null for no cap`
    return replyError({ status: 400, param: 'cap_usd', code: 'invalid_value', message })
  }
  const isTheirs = await changeBatch(room, { pool, batch: name }, { priority, capMicroUsd }, caller)
  return isTheirs ? getBatch(call) : noBatch(request.params)
}

/** One that is not there yet may be given its terms by anybody, but for names that only we give, and others' inboxes. */
async function mayOpen({ room, caller }: Call, name: string): Promise<boolean> {
  const known = await knownBatch(room, name)
  if (known !== undefined) return mayUse(caller, known.owner)
  const inbox = ownerOfInbox(name)
  return !isSubmitted(name) && (inbox === undefined || inbox.owner === caller.key)
}

const reasonSchema = z.strictObject({ reason: z.string().trim().max(limits.reasonCharsMax).optional() })

/** POST /v1/batches/{name}/pause: nothing of it gets a slot until it is resumed. */
export async function postPause(call: Call): Promise<Reply> {
  return decided(call, 'paused', async (name, reason) => pauseBatch(call.room, name, reason))
}

/** POST /v1/batches/{name}/resume */
export async function postResume(call: Call): Promise<Reply> {
  return decided(call, 'resumed', async (name, reason) => resumeBatch(call.room, name, reason))
}

/** POST /v1/batches/{name}/cancel: answers when no further call of it will start. */
export async function postCancel(call: Call): Promise<Reply> {
  return decided(call, 'cancelled', async (name, reason) => cancelBatch(call.room, name, reason))
}

async function decided(
  call: Call,
  what: Decision['kind'],
  act: (name: string, reason: string) => Promise<Decided>,
): Promise<Reply> {
  const { request, room, caller } = call
  const name = batchName(request.params)
  if (name === undefined || !(await mayReach(room, caller, name))) return noBatch(request.params)
  const body = await readBody(request, reasonSchema)
  if (body.kind === 'refused') return body.reply
  const done = await act(name, body.value.reason ?? `${what} by request`)
  switch (done.kind) {
    case 'done':
      return getBatch(call)
    case 'unknown-batch':
      return noBatch(request.params)
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

function atItsEnd(name: string, state: 'completed' | 'failed'): Reply {
  const message = `batch ${name} is at its end: nothing is left to change or to cancel`
  return replyError({ status: 409, code: `batch_${state}`, message })
}

/** Its model, and with it its pool, is known when its file has been checked. */
function beingChecked(name: string): Reply {
  const message = `batch ${name}: its file is being checked; ask again in a moment`
  const refusal = replyError({ status: 409, code: 'batch_validating', message })
  return { ...refusal, headers: { ...refusal.headers, 'retry-after': '1' } }
}

export function batchName({ name = '' }: Call['request']['params']): string | undefined {
  return batchNamePattern.test(name) && name.length <= limits.batchNameCharsMax ? name : undefined
}

export function noBatch({ name = '' }: Call['request']['params']): Reply {
  return notFound(`batch ${JSON.stringify(name.slice(0, limits.batchNameCharsMax))}`)
}
