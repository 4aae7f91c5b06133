import { refText } from '../../core/requests/input-ref.ts'
import { isFinal, type Image, type Job } from '../../core/jobs/job.ts'
import { jobId, parseJobId } from '../../core/jobs/keys.ts'
import { limits } from '../../core/limits.ts'
import { errorCode } from '../../core/log-event.ts'
import { usageBody } from '../../core/batches/result-line.ts'
import type { ImageRequest } from '../../core/requests/submission.ts'
import type { JobRef } from '../../ports/jobs.ts'
import { cancelJob } from '../../pipeline/running/cancel-job.ts'
import { takeRequest, type TakenRequest } from '../../pipeline/intake/intake.ts'
import { mayReach } from '../../pipeline/intake/owners.ts'
import { estimateStart, imageOfJob, jobStatus } from '../../pipeline/status/status.ts'
import { boundedText, tooLong, uploadPatience } from '../body/body.ts'
import { handsOf } from '../hands.ts'
import { isKnown } from '../etag.ts'
import { quoted } from '../fault.ts'
import { jobExists, readIdempotencyKey } from '../idempotency-key.ts'
import { stateOf } from './job-state.ts'
import {
  exactSeconds,
  notFound,
  pollSoonMs,
  reply,
  replyError,
  retryAfter,
  seconds,
  usd,
  type Call,
  type Reply,
} from '../reply.ts'

/** POST /v1/jobs: 202 with the job, also when it was there already; 409 when it was, and asked for something else. */
export async function postJob({ request, context, id, caller }: Call): Promise<Reply> {
  const given = readIdempotencyKey(request)
  if (given.kind === 'refused') return given.reply
  const { idempotencyKey } = given
  const bytesMax = limits.jobBodyBytesMax
  const hands = handsOf(context)
  let taken: TakenRequest
  try {
    const text = await boundedText(request, { bytesMax, hands, ...uploadPatience })
    if (text === undefined) return tooLong(bytesMax)
    taken = await takeRequest(context, { text, idempotencyKey, requestId: id, caller })
  } finally {
    hands.empty()
  }
  if (taken.kind === 'invalid') {
    return replyError({ status: statusOfFault[taken.fault.code] ?? 400, ...taken.fault })
  }
  const { job, isNew, isSame } = taken
  if (!isSame) {
    const param = idempotencyKey === undefined || job.customId !== null ? 'custom_id' : 'Idempotency-Key'
    return jobExists(job, param)
  }
  // The job is taken; that nobody can say when it starts must not make its sender send it again.
  const estimatedStartAt = await estimateStart(context, job).catch((error: unknown) => {
    context.log.event('storage_failed', { doing: 'estimate', code: errorCode(error) })
    return null
  })
  const waitMs = Math.max(1_000, (estimatedStartAt ?? context.clock.now()) - context.clock.now())
  return reply(202, jobBody(request.url, job, estimatedStartAt), {
    location: new URL(`/v1/jobs/${jobId(job)}`, request.url).pathname,
    'retry-after': String(Math.ceil(waitMs / 1_000)),
    ...(isNew ? {} : { 'idempotent-replayed': 'true' }),
  })
}

/** Of what a submission may be refused for; all else is a 400. */
export const statusOfFault: Readonly<Record<string, number>> = {
  batch_cancelled: 409,
  permission_denied: 403,
}

/** GET /v1/jobs/{id} */
export async function getJob(call: Call): Promise<Reply> {
  const { request, context } = call
  const ref = await jobAskedFor(call)
  const status = ref && (await jobStatus(context, ref))
  if (status === undefined) return noJob(call)
  const { job, estimatedStartAt } = status
  const startAt = job.phase.kind === 'running' ? context.clock.now() : estimatedStartAt
  // Not when a call as long as usual will be over: many are faster.
  const readyAt = startAt === null ? null : startAt + pollSoonMs
  const headers = isFinal(job) ? {} : { 'retry-after': retryAfter(readyAt, context.clock.now()) }
  return reply(200, jobBody(request.url, job, estimatedStartAt), headers)
}

/** The job that the path names; undefined when it is none of the caller's. */
async function jobAskedFor({ request, context, caller }: Call): Promise<JobRef | undefined> {
  const ref = parseJobId(request.params['id'] ?? '')
  return ref !== undefined && (await mayReach(context, caller, ref.batch)) ? ref : undefined
}

function noJob({ request }: Call): Reply {
  return notFound(`job ${quoted(request.params['id'] ?? '')}`)
}

/** POST /v1/jobs/{id}/cancel: a call that is under way goes on, and its images are kept. */
export async function postCancelJob(call: Call): Promise<Reply> {
  const { request, context } = call
  const ref = await jobAskedFor(call)
  const done = ref && (await cancelJob(context, ref))
  if (done === undefined || done.kind === 'unknown-job') return noJob(call)
  if (done.kind === 'cancelled') return reply(200, jobBody(request.url, done.job, null))
  const state = stateOf(done.job)
  const message = `job ${jobId(done.job)} is ${state}; allowed: to cancel what is queued`
  return replyError({ status: 409, code: `job_${state}`, message })
}

/** GET /v1/jobs/{id}/images/{k}: the image, or a redirect to a link that works for a quarter of an hour. */
export async function getImage(call: Call): Promise<Reply> {
  const { request, context } = call
  const { id = '', k = '' } = request.params
  const ref = await jobAskedFor(call)
  const image = ref && /^\d{1,2}$/.test(k) ? await imageOfJob(context, ref, Number(k)) : undefined
  const etag = `"${image?.sha256 ?? ''}"`
  const kept = { etag, 'cache-control': 'private, max-age=3600' }
  if (image !== undefined && isKnown(request, etag)) return { status: 304, headers: kept }
  const content = image && (await context.images.read(image))
  if (image === undefined || content === undefined) return notFound(`image ${quoted(k)} of job ${quoted(id)}`)
  if (content.kind === 'link')
    return { status: 302, headers: { location: content.url, 'cache-control': 'no-store' } }
  return {
    status: 200,
    headers: { 'content-type': image.contentType, 'content-length': String(content.bytes.length), ...kept },
    body: content.bytes,
  }
}

export function jobBody(url: string, job: Job, estimatedStartAt: number | null): object {
  const { phase } = job
  const isFinished = phase.kind === 'succeeded' || phase.kind === 'failed' || phase.kind === 'cancelled'
  return {
    id: jobId(job),
    object: 'image.job',
    batch: job.batch,
    custom_id: job.customId,
    status: stateOf(job),
    request: job.request && requestBody(job.request),
    input: job.input,
    metadata: job.metadata,
    attempts: job.attempts,
    possibly_repeated_calls: job.possiblyRepeated,
    priority: job.priority,
    cost_usd: phase.kind === 'succeeded' ? usd(phase.costMicroUsd) : null,
    possible_cost_usd: usd(job.unsureMicroUsd),
    deployment: job.deployment,
    created_at: seconds(job.createdAt),
    slot_at: exactSeconds(job.slotAt),
    started_at: seconds(job.startedAt),
    finished_at: isFinished ? seconds(phase.finishedAt) : null,
    estimated_start_at: seconds(estimatedStartAt),
    images: phase.kind === 'succeeded' ? phase.images.map((image, k) => imageBody(url, job, image, k)) : [],
    usage: phase.kind === 'succeeded' ? usageBody(phase.usage) : null,
    failure: phase.kind === 'failed' ? phase.failure : null,
    cancel_reason: phase.kind === 'cancelled' ? (phase.reason ?? null) : null,
    request_ids: job.requestIds,
  }
}

/** In the words of the queue contract. */
function requestBody({ inputs, ...parameters }: ImageRequest): object {
  if (inputs === undefined) return parameters
  const { images, mask } = inputs
  return { ...parameters, image: images.map(refText), ...(mask === null ? {} : { mask: refText(mask) }) }
}

function imageBody(url: string, job: Job, image: Image, k: number): object {
  return {
    url: new URL(`/v1/jobs/${jobId(job)}/images/${k}`, url).href,
    blob: image.blob,
    content_type: image.contentType,
    bytes: image.sizeBytes,
    width: image.width,
    height: image.height,
    sha256: image.sha256,
  }
}
