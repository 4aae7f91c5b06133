import type { Caller } from '../../core/caller.ts'
import { isFinal, type Job } from '../../core/jobs/job.ts'
import { limits } from '../../core/limits.ts'
import { errorCode } from '../../core/log-event.ts'
import type { Submission } from '../../core/requests/submission.ts'
import { timing } from '../../core/timing.ts'
import type { JobRef } from '../../ports/jobs.ts'
import type { Context } from '../context.ts'
import { requestRef, takeSubmission, type Asked, type TakenRequest } from '../intake/intake.ts'
import { budgetStatus, estimateStart } from '../status/status.ts'
import { flowOf } from '../pacing/pool-view.ts'
import { cancelJob, type JobCancelled } from './cancel-job.ts'

/** A call whose sender stays on the line until its images are there. */
export type SyncCall = {
  readonly submission: Submission
  readonly idempotencyKey: string | undefined
  readonly requestId: string
  readonly caller: Caller
  /** When the request came. */
  readonly arrivedAt: number
}

export type SyncWait = {
  /** When the request came. */
  readonly arrivedAt: number
  /** Aborted when its sender has left. */
  readonly gone: AbortSignal | undefined
}

export type SyncEnd =
  /** The key was used before, for a job that asks for something else. */
  | { readonly kind: 'conflict'; readonly job: Job }
  | { readonly kind: 'finished'; readonly job: Job; readonly isNew: boolean }
  /** Its turn is too far away: it was taken back, and is worth another try after this time. */
  | { readonly kind: 'busy'; readonly retryAfterMs: number }
  /** Nothing starts until a person acts: it was taken back. */
  | { readonly kind: 'stopped'; readonly why: string }
  /** No more time, and its call is under way: its images will be there. */
  | { readonly kind: 'running'; readonly job: Job }
  /** Storage is away, so nobody knows whether it was taken back; it is not called when its time is over. */
  | { readonly kind: 'unsure' }
  /** Its sender has left; it was taken back unless its call was under way. */
  | { readonly kind: 'left' }

/** Undefined when this instance has as many calls as it takes; else what is to be called when this one is over. */
export function takePlace({ capacity }: Context): (() => void) | undefined {
  return capacity.syncCalls.take(1)
}

export type TakenCall = TakenRequest | { readonly kind: 'unsure'; readonly job: JobRef }

/**
 * Takes the call in as a job of high priority, in a line of such calls. One that was taken back must not stand in the way
 * of the next try with its key: that one gets a job of its own. Should the instance die while its sender waits, the job
 * is not called for nobody: it has a time at which it is given up.
 */
export async function takeSyncCall(context: Context, call: SyncCall): Promise<TakenCall> {
  const { idempotencyKey, requestId, caller, arrivedAt } = call
  const submission: Submission = { ...call.submission, priority: 'high' }
  const giveUpAt = arrivedAt + timing.syncTotalMs
  const asked = { requestId, caller, line: 'sync' as const, giveUpAt }
  let taken = await takeOne(context, submission, { ...asked, idempotencyKey })
  for (let tries = 1; tries < limits.syncTriesMax && isTakenBack(taken); tries += 1) {
    const key = idempotencyKey && `${idempotencyKey}\n${tries}`
    taken = await takeOne(context, submission, { ...asked, idempotencyKey: key })
  }
  return taken
}

/**
 * Where storage fails on the way, the job may stand all the same. Its sender may only try again by itself when that would
 * meet the same job, or when there is none.
 */
async function takeOne(context: Context, submission: Submission, asked: Asked): Promise<TakenCall> {
  const job = requestRef(context, submission, asked)
  try {
    return await takeSubmission(context, submission, asked)
  } catch (error) {
    if (asked.idempotencyKey !== undefined) throw error
    const back = await despiteFaults(context, async () =>
      cancelJob(context, job, 'it was not taken in properly'),
    )
    if (back?.kind === 'cancelled' || back?.kind === 'unknown-job') throw error
    return { kind: 'unsure', job }
  }
}

function isTakenBack(taken: TakenCall): boolean {
  return taken.kind === 'taken' && !taken.isNew && taken.isSame && taken.job.phase.kind === 'cancelled'
}

type Taken = Extract<TakenRequest, { kind: 'taken' }>

/**
 * Waits for the end of a call that was taken in, for less time than Azure's front end does. Storage that cannot be read
 * now says nothing of the call: it is asked again.
 */
export async function endOfSyncCall(
  context: Context,
  { job: first, isNew, isSame }: Taken,
  { arrivedAt, gone }: SyncWait,
): Promise<SyncEnd> {
  if (!isSame) return { kind: 'conflict', job: first }
  const { clock } = context
  const until = arrivedAt + timing.syncTotalMs
  let job = first
  let lookedAt = -Infinity
  let wasWaiting = false
  // Each turn sleeps for a second, but for the last before the end of the time.
  while (!isFinal(job)) {
    const now = clock.now()
    // One that has come back to wait may have met a pause.
    const isBack = job.phase.kind === 'waiting' && !wasWaiting
    const isLookDue = isBack || now >= lookedAt + timing.syncLookMs
    if (isLookDue) lookedAt = now
    wasWaiting = job.phase.kind === 'waiting'
    const end = await endFor(context, job, { until, isLookDue, gone })
    if (end !== undefined) {
      // One that was there before belongs to others as well: whoever sent it first takes it back.
      if (!isNew) return end
      const taken = await takeBack(context, job)
      if (taken === undefined) return end.kind === 'left' ? end : { kind: 'unsure' }
      if (taken.kind !== 'too-late') return end
      // Its call is under way after all, or over.
      job = taken.job
      if (!isFinal(job) && end.kind === 'left') return end
      if (!isFinal(job) && now >= until) return { kind: 'running', job }
    } else {
      await clock.sleepUntil(Math.min(until, nextLookAt(job, now)), gone)
      job = (await unlessFaulty(context, context.jobs.get(job)))?.job ?? job
    }
  }
  return { kind: 'finished', job, isNew }
}

/** Why it is not to be waited for any longer; undefined as long as it is. */
async function endFor(
  context: Context,
  job: Job,
  wait: {
    readonly until: number
    readonly isLookDue: boolean
    readonly gone: AbortSignal | undefined
  },
): Promise<SyncEnd | undefined> {
  const now = context.clock.now()
  if (wait.gone?.aborted === true) return { kind: 'left' }
  const isOver = now >= wait.until
  if (job.phase.kind === 'running') return isOver ? { kind: 'running', job } : undefined
  if (!isOver && !(wait.isLookDue && job.phase.kind === 'waiting')) return undefined
  const startAt = await unlessFaulty(context, estimateStart(context, job))
  if (startAt === undefined) return isOver ? { kind: 'busy', retryAfterMs: timing.syncFullMs } : undefined
  if (startAt === null) {
    const why = await unlessFaulty(context, whyStopped(context, job))
    return { kind: 'stopped', why: why ?? 'nothing starts at present' }
  }
  // By then a new call's turn would be near enough.
  const retryAfterMs = Math.max(1_000, startAt - now - timing.syncTurnMs)
  const isInTime = startAt <= Math.min(now + timing.syncTurnMs, wait.until)
  return isInTime && !isOver ? undefined : { kind: 'busy', retryAfterMs }
}

async function takeBack(context: Context, job: JobRef): Promise<JobCancelled | undefined> {
  return despiteFaults(context, async () => cancelJob(context, job, 'its sender was told not to wait for it'))
}

/** What storage answers within a few tries; undefined when it does not. */
export async function despiteFaults<T>(context: Context, act: () => Promise<T>): Promise<T | undefined> {
  for (let tries = 1; tries < limits.syncFaultsMax; tries += 1) {
    const answer = await unlessFaulty(context, act())
    if (answer !== undefined) return answer
    await context.clock.sleepUntil(context.clock.now() + timing.syncPollMs)
  }
  return unlessFaulty(context, act())
}

/** Undefined where storage fails: what that means, the caller knows. */
async function unlessFaulty<T>(context: Context, asked: Promise<T>): Promise<T | undefined> {
  return asked.catch((error: unknown) => {
    context.log.event('storage_failed', { doing: 'sync-call', code: errorCode(error) })
    return undefined
  })
}

function nextLookAt({ phase }: Job, now: number): number {
  const soonest = now + timing.syncPollMs
  return phase.kind === 'slotted' ? Math.max(soonest, phase.slotAt + timing.syncPollMs) : soonest
}

async function whyStopped(context: Context, job: Job): Promise<string> {
  const { decision } = await flowOf(context, job)
  if (decision?.kind === 'paused') return `batch ${job.batch} is paused: ${decision.reason}`
  const stopped = (await budgetStatus(context)).flatMap(({ pool, member: { deployment, breaker } }) =>
    pool === job.pool && breaker !== null ? [`${deployment}: ${breaker.code}: ${breaker.message}`] : [],
  )
  return stopped.length === 0
    ? 'no deployment is in service'
    : `nothing starts but probes: ${stopped.join('; ')}`
}
