import { failure, type Failure } from '../core/failure.ts'
import { newJob, rejectedJob, type Job } from '../core/job.ts'
import { inboxName, keyOf, ownerOfInbox, type InboxOf } from '../core/keys.ts'
import { isSameRequest, type AskedRequest, type Submission } from '../core/submission.ts'
import type { SubmissionFault } from '../core/submission-fault.ts'
import { localCaller, mayUse, type Caller } from '../core/caller.ts'
import type { Batch, JobRef } from '../ports.ts'
import { announce, nudge, wake } from './announce.ts'
import { openBatch } from './batches.ts'
import { poolNamed, type Darkroom } from './darkroom.ts'
import type { BatchRef } from './flows.ts'
import { knownBatch, rememberBatch } from './known-batch.ts'
import { checkInputs, keepInputs, withNames } from './inputs.ts'

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
    const { fault, customId, batch, pool } = parsed
    return reject(room, message, {
      customId,
      batch,
      pool,
      failure: failure('invalid', fault.code, fault.message),
    })
  }
  const { submission } = parsed
  const { customId } = submission
  // The day of the message, not of its delivery: delivered again after midnight it must meet the same job.
  const batch = submission.batch ?? inboxOf(room, submission, message.insertedAt ?? room.clock.now())
  const key =
    customId === null
      ? keyOf({ kind: 'message', id: message.messageId ?? message.text })
      : keyOf({ kind: 'custom-id', id: customId })
  const accepted = await accept(room, submission, { batch, key, caller: operator })
  if (accepted.kind === 'accepted') return { ...accepted, fault: undefined }
  const { fault } = accepted
  const { pool } = submission
  return reject(room, message, {
    customId,
    batch,
    pool,
    failure: failure('invalid', fault.code, fault.message),
  })
}

/** Who may write to the queue may read the whole account; what comes so belongs to no key. */
const operator: Caller = localCaller

/** A batch draws on one pool, so each pool has an inbox of its own. */
function inboxOf(
  { pools: [first] }: Darkroom,
  { pool }: Submission,
  time: number,
  { caller: { key: owner } = operator, line = 'inbox' }: { caller?: Caller; line?: InboxOf['line'] } = {},
): string {
  return inboxName(time, { line, pool: pool === first?.name ? null : pool, owner })
}

/** A message that its queue has given up: it is turned into a failed job, never into silence. */
export async function takePoisoned(room: Darkroom, message: JobMessage): Promise<Accepted> {
  const parsed = room.parse(message.text)
  const { customId, batch, pool } = parsed.kind === 'valid' ? parsed.submission : parsed
  if (parsed.kind === 'valid' && customId !== null) {
    // It may have been taken in before it was given up: then it is waiting, or done.
    const now = room.clock.now()
    const key = keyOf({ kind: 'custom-id', id: customId })
    const inboxes = [now, now - dayMs].map((time) => inboxOf(room, parsed.submission, time))
    for (const place of batch === null ? inboxes : [batch]) {
      const taken = await room.jobs.get({ batch: place, key })
      if (taken !== undefined) {
        await announce(room, taken.job)
        return { job: taken.job, isNew: false, fault: undefined }
      }
    }
  }
  const reason =
    parsed.kind === 'invalid' ? parsed.fault.message : 'it could not be taken in, each time it was tried'
  return reject(room, message, { customId, batch, pool, failure: failure('invalid', 'poisoned', reason) })
}

export type TakenRequest =
  | { readonly kind: 'invalid'; readonly fault: SubmissionFault }
  /** `isSame` is false when the key was used before, for a job that asks for something else. */
  | { readonly kind: 'taken'; readonly job: Job; readonly isNew: boolean; readonly isSame: boolean }

/** Who asks over HTTP, and what tells this request from others. */
export type Asked = {
  readonly idempotencyKey: string | undefined
  readonly requestId: string
  readonly caller: Caller
  /** Where it goes when it names no batch. */
  readonly line?: InboxOf['line']
  /** Until when its sender waits; without it, the job is called whenever its turn comes. */
  readonly giveUpAt?: number
}

/** A job whose sender waits for the answer: POST /v1/jobs. */
export async function takeRequest(
  room: Darkroom,
  asked: Asked & { readonly text: string },
): Promise<TakenRequest> {
  const parsed = room.parse(asked.text)
  return parsed.kind === 'invalid'
    ? { kind: 'invalid', fault: parsed.fault }
    : takeSubmission(room, parsed.submission, asked)
}

export async function takeSubmission(
  room: Darkroom,
  submission: Submission,
  asked: Asked,
): Promise<TakenRequest> {
  const { caller } = asked
  const { batch, request } = submission
  const now = room.clock.now()
  const place = requestRef(room, submission, asked)
  const { key } = place
  const taken = async (job: Job, isNew: boolean): Promise<TakenRequest> => ({
    kind: 'taken',
    job,
    isNew,
    isSame: isNew || (await asksFor(room, job, request)),
  })
  if (asked.idempotencyKey !== undefined && batch === null) {
    // Sent again just after midnight it must meet yesterday's job.
    const earlier = await room.jobs.get({ batch: inboxOf(room, submission, now - dayMs, asked), key })
    if (earlier !== undefined) return taken(earlier.job, false)
  }
  // Its sender is told at once that the batch was cancelled, be it by another instance a moment ago.
  const asOfNow = { flowKnownMs: 0, giveUpAt: asked.giveUpAt }
  const accepted = await accept(room, submission, { ...place, caller, ...asOfNow })
  return accepted.kind === 'accepted'
    ? taken(accepted.job, accepted.isNew)
    : { kind: 'invalid', fault: accepted.fault }
}

/** Which job a request makes, or meets, now. */
export function requestRef(room: Darkroom, submission: Submission, asked: Asked): JobRef {
  const batch = submission.batch ?? inboxOf(room, submission, room.clock.now(), asked)
  return { batch, key: requestKey(submission.customId, asked) }
}

/** Names of images that came inside the job tell their content, so they are compared as well. */
async function asksFor(room: Darkroom, job: Job, request: AskedRequest): Promise<boolean> {
  return job.request !== null && isSameRequest(job.request, (await withNames(room, job, request)).request)
}

function requestKey(
  customId: string | null,
  {
    idempotencyKey,
    requestId,
    caller,
  }: { idempotencyKey: string | undefined; requestId: string; caller: Caller },
): string {
  if (customId !== null) return keyOf({ kind: 'custom-id', id: customId })
  if (idempotencyKey !== undefined) {
    // Of an admin and of the batch's owner the same one may mean two things.
    const id = caller.key === null ? idempotencyKey : `${caller.key}\n${idempotencyKey}`
    return keyOf({ kind: 'idempotency', id })
  }
  return keyOf({ kind: 'message', id: requestId })
}

const dayMs = 86_400_000

type Acceptance =
  | { readonly kind: 'accepted'; readonly job: Job; readonly isNew: boolean }
  | { readonly kind: 'rejected'; readonly fault: SubmissionFault }

type Place = JobRef & {
  readonly caller: Caller
  readonly giveUpAt?: number | undefined
  /** How old what it is refused for may be. */
  readonly flowKnownMs?: number
}

async function accept(
  room: Darkroom,
  submission: Submission,
  { batch, key, caller, giveUpAt, flowKnownMs }: Place,
): Promise<Acceptance> {
  const { pool, customId, metadata, priority } = submission
  const before = await lookBefore(room, submission, { batch, key, caller })
  if (before !== undefined) return before
  const { pool: batchPool, owner } = await openOnce(room, { pool, batch }, caller.key)
  // Who opens a batch of that name first must not get to see what its operator sends there by the queue.
  const isFromQueue = caller.key === null
  if (!mayUse(caller, owner) || (isFromQueue && room.isTenant(owner))) {
    return { kind: 'rejected', fault: notYours(batch) }
  }
  if (batchPool !== pool) return { kind: 'rejected', fault: modelMismatch(batch, { pool, batchPool }) }
  const request = await keepInputs(room, { batch, key }, submission.request)
  const upperMicroUsd = poolNamed(room, pool)?.costs.upperMicroUsd(request) ?? 0
  const now = room.clock.now()
  const job = newJob({
    batch,
    key,
    pool,
    customId,
    metadata,
    giveUpAt: giveUpAt ?? null,
    request,
    priority,
    upperMicroUsd,
    now,
  })
  // Before the job: one without a flow would be seen by nobody if this instance died here.
  const flow = await wake(room, job, flowKnownMs)
  if (flow.decision?.kind === 'cancelled' && (await room.jobs.get(job)) === undefined) {
    // The flow that was made for it goes again.
    await nudge(room, pool)
    return { kind: 'rejected', fault: batchCancelled(batch) }
  }
  const added = await room.jobs.add(job)
  // Also for a job that was there: the delivery that wrote it may have died before it told the pacer.
  await announce(room, job)
  if (added === 'added') return { kind: 'accepted', job, isNew: true }
  const stored = await room.jobs.get(job)
  return { kind: 'accepted', job: stored?.job ?? job, isNew: false }
}

/**
 * What can be said before anything is written. What an edit starts from is checked; a job that is there already is only
 * announced: its images may be gone since.
 */
async function lookBefore(
  room: Darkroom,
  { pool, request }: Submission,
  { batch, key, caller }: Place,
): Promise<Acceptance | undefined> {
  const inbox = ownerOfInbox(batch)
  if (inbox !== undefined && inbox.owner !== caller.key) return { kind: 'rejected', fault: notYours(batch) }
  if (request.inputs === undefined) return undefined
  const known = await knownBatch(room, batch)
  if (known !== undefined && !mayUse(caller, known.owner)) {
    return { kind: 'rejected', fault: notYours(batch) }
  }
  const stored = await room.jobs.get({ batch, key })
  if (stored !== undefined) {
    await announce(room, stored.job)
    return { kind: 'accepted', job: stored.job, isNew: false }
  }
  const owner = caller.isAdmin ? undefined : caller.key
  const fault = await checkInputs(room, { pool, request }, { owner })
  return fault && { kind: 'rejected', fault }
}

function notYours(batch: string): SubmissionFault {
  const message = `batch: ${batch} belongs to another API key, or is the name of another's inbox; use another name`
  return { param: 'batch', code: 'permission_denied', message }
}

function batchCancelled(batch: string): SubmissionFault {
  const message = `batch: ${batch} was cancelled and stays so; send its jobs under another name`
  return { param: 'batch', code: 'batch_cancelled', message }
}

function modelMismatch(
  batch: string,
  { pool, batchPool }: { pool: string; batchPool: string },
): SubmissionFault {
  const message = `model: the jobs of batch ${batch} go to the pool ${batchPool}, and this one asks for ${pool}; send it under another batch`
  return { param: 'model', code: 'model_mismatch', message }
}

async function isOfTenant(room: Darkroom, batch: string): Promise<boolean> {
  const inbox = ownerOfInbox(batch)
  if (inbox !== undefined) return inbox.owner !== null
  return room.isTenant((await knownBatch(room, batch))?.owner ?? null)
}

async function reject(
  room: Darkroom,
  message: JobMessage,
  rejected: { customId: string | null; batch: string | null; pool: string | null; failure: Failure },
): Promise<Accepted> {
  const now = room.clock.now()
  const { customId, failure } = rejected
  // A batch must not be bound to a pool that its good messages do not ask for.
  const pool = rejected.pool ?? room.pools[0]?.name ?? ''
  // A key's batch or inbox is none of the queue's: what is no job is told with a part of its text.
  const isForeign = rejected.batch !== null && (await isOfTenant(room, rejected.batch))
  const batch = isForeign ? inboxName(now) : (rejected.batch ?? inboxName(now))
  // Never under the custom id itself: a corrected message with the same id must become a job.
  const key = keyOf({
    kind: 'rejected',
    id: `${customId ?? ''}\n${message.messageId ?? ''}\n${message.text}`,
  })
  const job = rejectedJob({
    batch,
    key,
    pool: (await openOnce(room, { pool, batch })).pool,
    customId,
    metadata: null,
    now,
    failure,
    input: message.text,
  })
  const added = await room.jobs.add(job)
  return {
    job,
    isNew: added === 'added',
    fault: { param: null, code: failure.code, message: failure.message },
  }
}

/** Answers the batch as it was opened first: it draws on the pool, and belongs to the owner, of its first job. */
async function openOnce(room: Darkroom, ref: BatchRef, owner: string | null = null): Promise<Batch> {
  const known = room.seen.batches.get(ref.batch)
  if (known !== undefined) return known
  return rememberBatch(room, ref.batch, openBatch(room, ref, owner))
}
