import { failure, type Failure } from '../core/failure.ts'
import { newJob, rejectedJob, type Job } from '../core/job.ts'
import { inboxName, keyOf } from '../core/keys.ts'
import { isSameRequest, type SubmissionFault } from '../core/submission.ts'
import { announce, wake } from './announce.ts'
import type { Darkroom } from './darkroom.ts'

/** A message of the public queue, or of its poison queue. */
export type JobMessage = {
  readonly text: string
  /** The queue's own facts. Fields of the message can hide them from us: trusted only when the message is a valid job. */
  readonly messageId: string | undefined
  readonly insertedAt: number | undefined
}

export type Accepted = {
  readonly job: Job
  /** False when the batch had a job of that key already, and for a rejected one. */
  readonly isNew: boolean
  readonly fault: SubmissionFault | undefined
}

/**
 * Writes the job that a message asks for, waiting. A message that is no valid job becomes a failed one, so that its
 * sender sees what was wrong where the results are looked for.
 */
export async function takeMessage(room: Darkroom, message: JobMessage): Promise<Accepted> {
  const parsed = room.parse(message.text)
  if (parsed.kind === 'invalid') {
    const { fault, customId, batch } = parsed
    return reject(room, message, { customId, batch, failure: failure('invalid', fault.code, fault.message) })
  }
  const { submission } = parsed
  const now = room.clock.now()
  const { customId, metadata, request } = submission
  // The day of the message, not of its delivery: delivered again after midnight it must meet the same job.
  const batch = submission.batch ?? inboxName(message.insertedAt ?? now)
  const key =
    customId === null
      ? keyOf({ kind: 'message', id: message.messageId ?? message.text })
      : keyOf({ kind: 'custom-id', id: customId })
  return accept(room, newJob({ batch, key, customId, metadata, request, now }))
}

/** A message that its queue has given up: it is turned into a failed job, never into silence. */
export async function takePoisoned(room: Darkroom, message: JobMessage): Promise<Accepted> {
  const parsed = room.parse(message.text)
  const { customId, batch } = parsed.kind === 'valid' ? parsed.submission : parsed
  if (parsed.kind === 'valid' && customId !== null) {
    // It may have been taken in before it was given up: then it is waiting, or done.
    const now = room.clock.now()
    const key = keyOf({ kind: 'custom-id', id: customId })
    for (const place of batch === null ? [inboxName(now), inboxName(now - dayMs)] : [batch]) {
      const taken = await room.jobs.get({ batch: place, key })
      if (taken !== undefined) {
        await announce(room, place)
        return { job: taken.job, isNew: false, fault: undefined }
      }
    }
  }
  const reason =
    parsed.kind === 'invalid' ? parsed.fault.message : 'it could not be taken in, each time it was tried'
  return reject(room, message, { customId, batch, failure: failure('invalid', 'poisoned', reason) })
}

export type TakenRequest =
  | { readonly kind: 'invalid'; readonly fault: SubmissionFault }
  /** `isSame` is false when the key was used before, for a job that asks for something else. */
  | { readonly kind: 'taken'; readonly job: Job; readonly isNew: boolean; readonly isSame: boolean }

/** A job whose sender waits for the answer: POST /v1/jobs. */
export async function takeRequest(
  room: Darkroom,
  asked: { readonly text: string; readonly idempotencyKey: string | undefined; readonly requestId: string },
): Promise<TakenRequest> {
  const parsed = room.parse(asked.text)
  if (parsed.kind === 'invalid') return { kind: 'invalid', fault: parsed.fault }
  const { customId, batch, metadata, request } = parsed.submission
  const now = room.clock.now()
  const key = requestKey(customId, asked)
  const taken = (job: Job, isNew: boolean): TakenRequest => ({
    kind: 'taken',
    job,
    isNew,
    isSame: isNew || (job.request !== null && isSameRequest(job.request, request)),
  })
  if (asked.idempotencyKey !== undefined && batch === null) {
    // Sent again just after midnight it must meet yesterday's job.
    const earlier = await room.jobs.get({ batch: inboxName(now - dayMs), key })
    if (earlier !== undefined) return taken(earlier.job, false)
  }
  const job = newJob({ batch: batch ?? inboxName(now), key, customId, metadata, request, now })
  const accepted = await accept(room, job)
  return taken(accepted.job, accepted.isNew)
}

function requestKey(
  customId: string | null,
  { idempotencyKey, requestId }: { idempotencyKey: string | undefined; requestId: string },
): string {
  if (customId !== null) return keyOf({ kind: 'custom-id', id: customId })
  if (idempotencyKey !== undefined) return keyOf({ kind: 'idempotency', id: idempotencyKey })
  return keyOf({ kind: 'message', id: requestId })
}

const dayMs = 86_400_000

async function accept(room: Darkroom, job: Job): Promise<Accepted> {
  await openBatch(room, job.batch)
  // Before the job: one without a flow would be seen by nobody if this instance died here.
  await wake(room, job.batch)
  const added = await room.jobs.add(job)
  // Also for a job that was there: the delivery that wrote it may have died before it told the pacer.
  await announce(room, job.batch)
  if (added === 'added') return { job, isNew: true, fault: undefined }
  const stored = await room.jobs.get(job)
  return { job: stored?.job ?? job, isNew: false, fault: undefined }
}

async function reject(
  room: Darkroom,
  message: JobMessage,
  rejected: { customId: string | null; batch: string | null; failure: Failure },
): Promise<Accepted> {
  const now = room.clock.now()
  const { customId, failure } = rejected
  const batch = rejected.batch ?? inboxName(now)
  // Never under the custom id itself: a corrected message with the same id must become a job.
  const key = keyOf({
    kind: 'rejected',
    id: `${customId ?? ''}\n${message.messageId ?? ''}\n${message.text}`,
  })
  const job = rejectedJob({ batch, key, customId, metadata: null, now, failure, input: message.text })
  await openBatch(room, batch)
  const added = await room.jobs.add(job)
  return {
    job,
    isNew: added === 'added',
    fault: { param: null, code: failure.code, message: failure.message },
  }
}

/** Batches remembered as existing; a forgotten one costs a write that changes nothing. */
const batchesSeenMax = 10_000

async function openBatch(room: Darkroom, batch: string): Promise<void> {
  const { batches } = room.seen
  const known = batches.get(batch)
  if (known !== undefined) {
    await known
    return
  }
  const opened = room.jobs.openBatch({ batch, createdAt: room.clock.now() })
  if (batches.size >= batchesSeenMax) batches.clear()
  // Remembered before it is done: messages come by the dozen, and one of them is enough to ask.
  batches.set(batch, opened)
  try {
    await opened
  } catch (error) {
    if (batches.get(batch) === opened) batches.delete(batch)
    throw error
  }
}
