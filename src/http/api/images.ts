import type { FailureKind } from '../../core/jobs/failure.ts'
import type { Job } from '../../core/jobs/job.ts'
import { jobId } from '../../core/jobs/keys.ts'
import { limits } from '../../core/limits.ts'
import { imagesFacts } from '../../core/batches/result-line.ts'
import type { SubmissionFault } from '../../core/requests/submission-fault.ts'
import type { ParsedSubmission } from '../../core/requests/submission-parser.ts'
import { timing } from '../../core/timing.ts'
import type { TakenRequest } from '../../pipeline/intake/intake.ts'
import type { JobRef } from '../../ports/jobs.ts'
import {
  despiteFaults,
  endOfSyncCall,
  takePlace,
  takeSyncCall,
  type SyncCall,
  type SyncEnd,
} from '../../pipeline/running/sync-call.ts'
import { base64Of } from '../body/base64.ts'
import { boundedText, tooLong, uploadPatience } from '../body/body.ts'
import { handsFull, handsOf, type Hands } from '../hands.ts'
import { jobExists, readIdempotencyKey } from '../idempotency-key.ts'
import { replyError, type ApiError, type Call, type Reply } from '../reply.ts'
import { isForm, readEditForm, type ReadCall } from './edit-form.ts'
import { statusOfFault } from './jobs.ts'

/** POST /v1/images/generations: the model's own call, which waits its turn in the budget. */
export async function postGeneration(call: Call): Promise<Reply> {
  return answerCall(call, async ({ context, request }) => {
    const text = await boundedText(request)
    if (text === undefined) return { kind: 'refused', reply: tooLong() }
    const read = readSubmission(context.parse(text, 'call'))
    const isEdit = read.kind === 'read' && read.submission.request.inputs !== undefined
    return isEdit ? refused(noImageHere) : read
  })
}

const noImageHere: SubmissionFault = {
  param: 'image',
  code: 'unknown_parameter',
  message: 'image: nothing to start from is taken here; what has images goes to /v1/images/edits',
}

/** POST /v1/images/edits: as a form, which is what the model takes, or as OpenAI's JSON. */
export async function postEdit(call: Call): Promise<Reply> {
  return answerCall(call, async ({ context, request }, hands) => {
    const read = isForm(request)
      ? await readEditForm(call, hands)
      : await readEditJson({ context, request }, hands)
    const isGeneration = read.kind === 'read' && read.submission.request.inputs === undefined
    return isGeneration ? refused(noImage) : read
  })
}

const noImage: SubmissionFault = {
  param: 'image',
  code: 'missing_required_parameter',
  message: `image: it is missing; allowed: 1 to ${limits.inputImagesMax} images to start from`,
}

async function readEditJson(
  { context, request }: Pick<Call, 'context' | 'request'>,
  hands: Hands,
): Promise<ReadCall> {
  const bytesMax = limits.jobBodyBytesMax
  const text = await boundedText(request, { bytesMax, hands, ...uploadPatience })
  if (text === undefined) return { kind: 'refused', reply: tooLong(bytesMax) }
  return readSubmission(context.parse(text, 'call'))
}

function readSubmission(parsed: ParsedSubmission): ReadCall {
  return parsed.kind === 'valid' ? { kind: 'read', submission: parsed.submission } : refused(parsed.fault)
}

function refused(fault: SubmissionFault): ReadCall {
  return { kind: 'refused', reply: faultReply(fault) }
}

function faultReply(fault: SubmissionFault): Reply {
  return replyError({ status: statusOfFault[fault.code] ?? 400, ...fault })
}

type Reader = (call: Call, hands: Hands) => Promise<ReadCall>

async function answerCall(call: Call, read: Reader): Promise<Reply> {
  const { request, context, gone } = call
  const arrivedAt = context.clock.now()
  const given = readIdempotencyKey(request)
  if (given.kind === 'refused') return given.reply
  const leave = takePlace(context)
  if (leave === undefined) return busyReply(timing.syncFullMs)
  try {
    const taken = await take(call, read, { idempotencyKey: given.idempotencyKey, arrivedAt })
    if (taken.kind === 'reply') return taken.reply
    return await endReply(call, taken.job, await endOfSyncCall(context, taken, { arrivedAt, gone }))
  } finally {
    leave()
  }
}

type Taken = Extract<TakenRequest, { kind: 'taken' }> | { readonly kind: 'reply'; readonly reply: Reply }

/** The request's body is held no longer than this: what comes then is a wait. */
async function take(
  call: Call,
  read: Reader,
  waited: Pick<SyncCall, 'idempotencyKey' | 'arrivedAt'>,
): Promise<Taken> {
  const { context, id, caller } = call
  const hands = handsOf(context)
  try {
    const body = await read(call, hands)
    if (body.kind === 'full') return { kind: 'reply', reply: replyError(handsFull) }
    if (body.kind === 'refused') return { kind: 'reply', reply: body.reply }
    const { submission } = body
    const taken = await takeSyncCall(context, { submission, ...waited, requestId: id, caller })
    if (taken.kind === 'taken') return taken
    return { kind: 'reply', reply: taken.kind === 'unsure' ? unsure(taken.job) : faultReply(taken.fault) }
  } finally {
    hands.empty()
  }
}

/** What was taken back for sure may be sent again, by OpenAI's clients of themselves: it was not called. */
async function endReply(call: Call, job: Job, end: SyncEnd): Promise<Reply> {
  switch (end.kind) {
    case 'conflict':
      return jobExists(end.job, 'Idempotency-Key')
    case 'finished':
      return finishedReply(call, end)
    case 'busy':
      return named(job, busyReply(end.retryAfterMs))
    case 'stopped':
      return named(job, replyError({ status: 503, code: 'unavailable', message: end.why }))
    case 'unsure':
      return unsure(job)
    case 'running': {
      const message = `the call takes longer than an answer can be waited for; its images will be at /v1/jobs/${jobId(end.job)}`
      return notAgain(end.job, { status: 504, code: 'still_running', message })
    }
    case 'left':
      return notAgain(job, { status: 408, code: 'client_left', message: 'the client has left' })
  }
}

function busyReply(retryAfterMs: number): Reply {
  const seconds = Math.ceil(retryAfterMs / 1_000)
  const message = `the budget is taken for longer than a call can wait; try again in ${seconds} s`
  return replyError({ status: 429, code: 'rate_limit_exceeded', message, retryAfterMs })
}

async function finishedReply(
  { context }: Call,
  { job, isNew }: Extract<SyncEnd, { kind: 'finished' }>,
): Promise<Reply> {
  const { phase } = job
  switch (phase.kind) {
    case 'succeeded': {
      const contents = await despiteFaults(context, async () =>
        Promise.all(phase.images.map(async (image) => context.images.open(image))),
      )
      if (contents === undefined) {
        const message = `its images are made, but cannot be read now; they will be at /v1/jobs/${jobId(job)}`
        return notAgain(job, { status: 503, code: 'images_unreadable', message })
      }
      const found = contents.filter((content) => content !== undefined)
      if (found.length < contents.length) {
        const message = `an image of job ${jobId(job)} does not exist`
        return notAgain(job, { status: 404, code: 'not_found', message })
      }
      return {
        status: 200,
        headers: {
          'content-type': 'application/json',
          'cache-control': 'no-store',
          ...jobHeader(job),
          ...(isNew ? {} : { 'idempotent-replayed': 'true' }),
        },
        body: imagesBody(imagesFacts(job, phase), found),
      }
    }
    case 'failed': {
      const { kind, code, message } = phase.failure
      const error = { status: statusOfFailure[kind], code, message }
      return error.status < 500 ? replyError(error) : notAgain(job, error)
    }
    case 'cancelled': {
      const message = `job ${jobId(job)} was cancelled while the call waited`
      return notAgain(job, { status: 409, code: 'job_cancelled', message })
    }
    case 'waiting':
    case 'slotted':
    case 'running':
      throw new Error(`job ${jobId(job)} is not finished`)
  }
}

/** A job that failed for good has been tried as often as is allowed. */
const statusOfFailure: Readonly<Record<FailureKind, number>> = {
  refused: 400,
  invalid: 400,
  throttled: 502,
  transient: 502,
  unknown: 502,
  unavailable: 503,
}

/** OpenAI's clients would send it again by themselves, and it would be paid for again. */
function notAgain(job: JobRef, error: ApiError): Reply {
  const refusal = named(job, replyError(error))
  return { ...refusal, headers: { ...refusal.headers, 'x-should-retry': 'false' } }
}

function unsure(job: JobRef): Reply {
  const message = `storage is away, and whether the call is made is not known; see /v1/jobs/${jobId(job)}`
  return notAgain(job, { status: 503, code: 'unknown_outcome', message })
}

function named(job: JobRef, reply: Reply): Reply {
  return { ...reply, headers: { ...reply.headers, ...jobHeader(job) } }
}

function jobHeader(job: JobRef): Readonly<Record<string, string>> {
  return { 'x-darkroom-job': jobId(job) }
}

/** The model's answer, its images in base64 as they come from storage. */
async function* imagesBody(
  facts: object,
  contents: readonly AsyncIterable<Uint8Array>[],
): AsyncGenerator<Uint8Array> {
  yield Buffer.from('{"data":[')
  for (const [k, content] of contents.entries()) {
    yield Buffer.from(`${k === 0 ? '' : ','}{"b64_json":"`)
    yield* base64Of(content)
    yield Buffer.from('"}')
  }
  yield Buffer.from(`],${JSON.stringify(facts).slice(1)}`)
}
