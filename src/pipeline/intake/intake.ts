import { failure, type Failure } from '../../core/jobs/failure.ts'
import { rejectedJob, type Job } from '../../core/jobs/job.ts'
import { inboxName, keyOf, ownerOfInbox, type InboxOf } from '../../core/jobs/keys.ts'
import { isSameRequest, type AskedRequest, type Submission } from '../../core/requests/submission.ts'
import type { SubmissionFault } from '../../core/requests/submission-fault.ts'
import { localCaller, type Caller } from '../../core/caller.ts'
import type { JobRef } from '../../ports/jobs.ts'
import { announce } from '../pacing/announce.ts'
import type { Context } from '../context.ts'
import { accept } from './accept.ts'
import { openOnce, knownBatch } from './known-batch.ts'
import { withNames } from './inputs.ts'

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
export async function takeMessage(context: Context, message: JobMessage): Promise<Accepted> {
  const parsed = context.parse(message.text)
  if (parsed.kind === 'invalid') {
    const { fault, customId, batch, pool } = parsed
    return reject(context, message, {
      customId,
      batch,
      pool,
      failure: failure('invalid', fault.code, fault.message),
    })
  }
  const { submission } = parsed
  const { customId } = submission
  // The day of the message, not of its delivery: delivered again after midnight it must meet the same job.
  const batch = submission.batch ?? inboxOf(context, submission, message.insertedAt ?? context.clock.now())
  const key =
    customId === null
      ? keyOf({ kind: 'message', id: message.messageId ?? message.text })
      : keyOf({ kind: 'custom-id', id: customId })
  const accepted = await accept(context, submission, { batch, key, caller: operator })
  if (accepted.kind === 'accepted') return { ...accepted, fault: undefined }
  const { fault } = accepted
  const { pool } = submission
  return reject(context, message, {
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
  { pools: [first] }: Context,
  { pool }: Submission,
  time: number,
  { caller: { key: owner } = operator, line = 'inbox' }: { caller?: Caller; line?: InboxOf['line'] } = {},
): string {
  return inboxName(time, { line, pool: pool === first?.name ? null : pool, owner })
}

/** A message that its queue has given up: it is turned into a failed job, never into silence. */
export async function takePoisoned(context: Context, message: JobMessage): Promise<Accepted> {
  const parsed = context.parse(message.text)
  const { customId, batch, pool } = parsed.kind === 'valid' ? parsed.submission : parsed
  if (parsed.kind === 'valid' && customId !== null) {
    // It may have been taken in before it was given up: then it is waiting, or done.
    const now = context.clock.now()
    const key = keyOf({ kind: 'custom-id', id: customId })
    const inboxes = [now, now - dayMs].map((time) => inboxOf(context, parsed.submission, time))
    for (const place of batch === null ? inboxes : [batch]) {
      const taken = await context.jobs.get({ batch: place, key })
      if (taken !== undefined) {
        await announce(context, taken.job)
        return { job: taken.job, isNew: false, fault: undefined }
      }
    }
  }
  const reason =
    parsed.kind === 'invalid' ? parsed.fault.message : 'it could not be taken in, each time it was tried'
  return reject(context, message, { customId, batch, pool, failure: failure('invalid', 'poisoned', reason) })
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
  context: Context,
  asked: Asked & { readonly text: string },
): Promise<TakenRequest> {
  const parsed = context.parse(asked.text)
  return parsed.kind === 'invalid'
    ? { kind: 'invalid', fault: parsed.fault }
    : takeSubmission(context, parsed.submission, asked)
}

export async function takeSubmission(
  context: Context,
  submission: Submission,
  asked: Asked,
): Promise<TakenRequest> {
  const { caller } = asked
  const { batch, request } = submission
  const now = context.clock.now()
  const place = requestRef(context, submission, asked)
  const { key } = place
  const taken = async (job: Job, isNew: boolean): Promise<TakenRequest> => ({
    kind: 'taken',
    job,
    isNew,
    isSame: isNew || (await asksFor(context, job, request)),
  })
  if (asked.idempotencyKey !== undefined && batch === null) {
    // Sent again just after midnight it must meet yesterday's job.
    const earlier = await context.jobs.get({ batch: inboxOf(context, submission, now - dayMs, asked), key })
    if (earlier !== undefined) return taken(earlier.job, false)
  }
  // Its sender is told at once that the batch was cancelled, be it by another instance a moment ago.
  const asOfNow = { flowKnownMs: 0, giveUpAt: asked.giveUpAt }
  const accepted = await accept(context, submission, { ...place, caller, ...asOfNow })
  return accepted.kind === 'accepted'
    ? taken(accepted.job, accepted.isNew)
    : { kind: 'invalid', fault: accepted.fault }
}

/** Which job a request makes, or meets, now. */
export function requestRef(context: Context, submission: Submission, asked: Asked): JobRef {
  const batch = submission.batch ?? inboxOf(context, submission, context.clock.now(), asked)
  return { batch, key: requestKey(submission.customId, asked) }
}

/** Names of images that came inside the job tell their content, so they are compared as well. */
async function asksFor(context: Context, job: Job, request: AskedRequest): Promise<boolean> {
  return job.request !== null && isSameRequest(job.request, (await withNames(context, job, request)).request)
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

async function isOfTenant(context: Context, batch: string): Promise<boolean> {
  const inbox = ownerOfInbox(batch)
  if (inbox !== undefined) return inbox.owner !== null
  return context.isTenant((await knownBatch(context, batch))?.owner ?? null)
}

async function reject(
  context: Context,
  message: JobMessage,
  rejected: { customId: string | null; batch: string | null; pool: string | null; failure: Failure },
): Promise<Accepted> {
  const now = context.clock.now()
  const { customId, failure } = rejected
  // A batch must not be bound to a pool that its good messages do not ask for.
  const pool = rejected.pool ?? context.pools[0]?.name ?? ''
  // A key's batch or inbox is none of the queue's: what is no job is told with a part of its text.
  const isForeign = rejected.batch !== null && (await isOfTenant(context, rejected.batch))
  const batch = isForeign ? inboxName(now) : (rejected.batch ?? inboxName(now))
  // Never under the custom id itself: a corrected message with the same id must become a job.
  const key = keyOf({
    kind: 'rejected',
    id: `${customId ?? ''}\n${message.messageId ?? ''}\n${message.text}`,
  })
  const job = rejectedJob({
    batch,
    key,
    pool: (await openOnce(context, { pool, batch })).pool,
    customId,
    metadata: null,
    now,
    failure,
    input: message.text,
  })
  const added = await context.jobs.add(job)
  return {
    job,
    isNew: added === 'added',
    fault: { param: null, code: failure.code, message: failure.message },
  }
}
