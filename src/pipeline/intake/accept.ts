import { mayUse, type Caller } from '../../core/caller.ts'
import { newJob, type Job } from '../../core/jobs/job.ts'
import { ownerOfInbox } from '../../core/jobs/keys.ts'
import type { SubmissionFault } from '../../core/requests/submission-fault.ts'
import type { Submission } from '../../core/requests/submission.ts'
import type { JobRef } from '../../ports/jobs.ts'
import { announce, nudge, wake } from '../pacing/announce.ts'
import { costsOf, type Context } from '../context.ts'
import { checkInputs, keepInputs } from './inputs.ts'
import { knownBatch, openOnce } from './known-batch.ts'

type Acceptance =
  | { readonly kind: 'accepted'; readonly job: Job; readonly isNew: boolean }
  | { readonly kind: 'rejected'; readonly fault: SubmissionFault }

export type Place = JobRef & {
  readonly caller: Caller
  readonly giveUpAt?: number | undefined
  /** How old what it is refused for may be. */
  readonly flowKnownMs?: number
}

/** Writes a job that is right, waiting, where its sender may write; or says why not. */
export async function accept(
  context: Context,
  submission: Submission,
  { batch, key, caller, giveUpAt, flowKnownMs }: Place,
): Promise<Acceptance> {
  const { pool, customId, metadata, priority } = submission
  const before = await lookBefore(context, submission, { batch, key, caller })
  if (before !== undefined) return before
  const { pool: batchPool, owner } = await openOnce(context, { pool, batch }, caller.key)
  // Who opens a batch of that name first must not get to see what its operator sends there by the queue.
  const isFromQueue = caller.key === null
  if (!mayUse(caller, owner) || (isFromQueue && context.isTenant(owner))) {
    return { kind: 'rejected', fault: notYours(batch) }
  }
  if (batchPool !== pool) return { kind: 'rejected', fault: modelMismatch(batch, { pool, batchPool }) }
  const request = await keepInputs(context, { batch, key }, submission.request)
  const upperMicroUsd = costsOf(context, pool).upperMicroUsd(request)
  const now = context.clock.now()
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
  const flow = await wake(context, job, flowKnownMs)
  if (flow.decision?.kind === 'cancelled' && (await context.jobs.get(job)) === undefined) {
    // The flow that was made for it goes again.
    await nudge(context, pool)
    return { kind: 'rejected', fault: batchCancelled(batch) }
  }
  const added = await context.jobs.add(job)
  // Also for a job that was there: the delivery that wrote it may have died before it told the pacer.
  await announce(context, job)
  if (added === 'added') return { kind: 'accepted', job, isNew: true }
  const stored = await context.jobs.get(job)
  return { kind: 'accepted', job: stored?.job ?? job, isNew: false }
}

/**
 * What can be said before anything is written. What an edit starts from is checked; a job that is there already is only
 * announced: its images may be gone since.
 */
async function lookBefore(
  context: Context,
  { pool, request }: Submission,
  { batch, key, caller }: Place,
): Promise<Acceptance | undefined> {
  const inbox = ownerOfInbox(batch)
  if (inbox !== undefined && inbox.owner !== caller.key) return { kind: 'rejected', fault: notYours(batch) }
  if (request.inputs === undefined) return undefined
  const known = await knownBatch(context, batch)
  if (known !== undefined && !mayUse(caller, known.owner)) {
    return { kind: 'rejected', fault: notYours(batch) }
  }
  const stored = await context.jobs.get({ batch, key })
  if (stored !== undefined) {
    await announce(context, stored.job)
    return { kind: 'accepted', job: stored.job, isNew: false }
  }
  const owner = caller.isAdmin ? undefined : caller.key
  const fault = await checkInputs(context, { pool, request }, { owner })
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
