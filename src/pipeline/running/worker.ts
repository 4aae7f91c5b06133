import { isRecalled, mayStart, memberOf, raisedLead, takeFreshSlot } from '../../core/budget/ledger.ts'
import type { Inputs } from '../../core/requests/input-ref.ts'
import { claimed, succeeded } from '../../core/jobs/transitions.ts'
import { isFinal, isGivenUp, type Job } from '../../core/jobs/job.ts'
import { jobId } from '../../core/jobs/keys.ts'
import { timing } from '../../core/timing.ts'
import type { InputImage } from '../../ports/inputs.ts'
import type { ModelAnswer } from '../../ports/model.ts'
import type { WorkMessage } from '../../ports/messages.ts'
import type { JobSnapshot } from '../../ports/jobs.ts'
import { noticeLostTick } from '../pacing/announce.ts'
import { answered, costsOf, poolNamed, type Context } from '../context.ts'
import { changeLedger, viewLedger } from '../pacing/ledgers.ts'
import { changeJob } from '../jobs/change-job.ts'
import { persist } from '../jobs/persist.ts'
import { cancelGivenUp } from './cancel-job.ts'
import { noteService, handleFailure, noteLimit } from './failed-call.ts'
import { keepLease, type Lease } from './lease.ts'
import { endUnsent, loadInputs } from './load-inputs.ts'
import { finish, giveBack, snoozeUnsent, type RunOutcome } from './run-end.ts'
import { logRun, newTrace, type RunTrace } from './run-trace.ts'

/** Runs one job at its slot: holds, claims, calls, stores, completes. What became of it is logged. */
export async function runJob(context: Context, message: WorkMessage): Promise<RunOutcome> {
  const trace = newTrace(message, context.clock.now())
  const outcome = await run(context, message, trace)
  logRun(context, message, { trace, outcome })
  return outcome
}

async function run(context: Context, message: WorkMessage, trace: RunTrace): Promise<RunOutcome> {
  const { clock, capacity } = context
  capacity.jobs.arrived(clock.now())
  const snapshot = await context.jobs.get(message)
  if (snapshot === undefined || !isAtSlot(snapshot.job, message)) return { kind: 'stale' }
  if (!isConfigured(context, message)) {
    return giveBack(context, snapshot, 'not_configured')
  }
  const release = capacity.jobs.take(clock.now())
  try {
    return await runSlotted(context, message, { snapshot, trace })
  } finally {
    release(clock.now())
    // Whoever works notices when the pacer's tick has been lost.
    await noticeLostTick(context, message.pool)
  }
}

function isConfigured(context: Context, { pool, quota, deployment }: WorkMessage): boolean {
  const settings = poolNamed(context, pool)?.quotas.find((each) => each.quota === quota)
  return settings?.deployments.some((each) => each.deployment === deployment) ?? false
}

/** The work message was given up by its queue: the job waits again, unless it has moved on. */
export async function giveUpSlot(context: Context, message: WorkMessage): Promise<void> {
  const snapshot = await context.jobs.get(message)
  if (snapshot === undefined || !isAtSlot(snapshot.job, message)) return
  await giveBack(context, snapshot, 'message_given_up')
}

function isAtSlot(job: Job, message: WorkMessage): boolean {
  return job.phase.kind === 'slotted' && job.phase.slotAt === message.slotAt
}

/** What an edit starts from is fetched before the slot, so that the start is punctual and nothing broken is sent. */
async function runSlotted(
  context: Context,
  message: WorkMessage,
  { snapshot, trace }: Pick<Ready, 'snapshot' | 'trace'>,
): Promise<RunOutcome> {
  const wokeAt = context.clock.now()
  const loaded = await loadInputs(context, snapshot)
  if (loaded.kind !== 'loaded') {
    return (await completeFound(context, snapshot)) ?? endUnsent(context, snapshot, loaded)
  }
  const release = context.capacity.inputs.add(loaded.sizeBytes)
  try {
    return await runLoaded(context, message, { snapshot, trace, wokeAt, inputs: loaded.inputs })
  } finally {
    release()
  }
}

type Ready = {
  readonly snapshot: JobSnapshot
  readonly trace: RunTrace
  readonly wokeAt: number
  readonly inputs: Inputs<InputImage> | undefined
}

async function runLoaded(
  context: Context,
  message: WorkMessage,
  { snapshot, trace, wokeAt, inputs }: Ready,
): Promise<RunOutcome> {
  const { deployment } = message
  const hold = await holdForSlot(context, message, wokeAt)
  if (hold.kind === 'none') return giveBack(context, snapshot, hold.code)
  const { slotAt } = hold
  const dearer = dearerNow(context, snapshot.job)
  if (dearer !== undefined) return giveBack(context, snapshot, 'costs_more', dearer)
  const found = await completeFound(context, snapshot)
  if (found !== undefined) return found
  if (isGivenUp(snapshot.job, context.clock.now())) {
    const { kind } = await cancelGivenUp(context, snapshot.job)
    return { kind: kind === 'cancelled' ? 'given-up' : 'stale' }
  }
  const leaseUntil = context.clock.now() + timing.leaseMs
  const mayWaitMs = claimMayWaitMs(context, slotAt)
  const claimingAt = context.clock.now()
  const running = (job: Job) => claimed(job, { slotAt, deployment, leaseUntil })
  const claim = await changeJob(context, snapshot, running, { mayWaitMs: () => mayWaitMs })
  if (claim.kind !== 'changed') return { kind: 'stale' }
  trace.claimMs = context.clock.now() - claimingAt

  const lease = keepLease(context, claim)
  try {
    await context.clock.sleepUntil(slotAt, context.stopping)
    const code = (await whyNot(context, message, slotAt)) ?? (lease.isLost() ? 'lease_lost' : undefined)
    if (code !== undefined) return await snoozeUnsent(context, lease, code)
    trace.slotLateMs = context.clock.now() - slotAt
    return await call(context, message, { lease, inputs, trace })
  } finally {
    await lease.end()
  }
}

/** A job under a cap whose model, or whose prices, are not those it came under: its slot is given anew for what it costs now. */
function dearerNow(context: Context, job: Job): number | undefined {
  const isReserved = job.phase.kind === 'slotted' && job.phase.isReserved
  if (!isReserved || job.request === null) return undefined
  const now = costsOf(context, job.pool).upperMicroUsd(job.request)
  return now > job.upperMicroUsd ? now : undefined
}

/** How long a claim may wait to share a transaction; a late worker claims at once. */
function claimMayWaitMs(context: Context, slotAt: number): number {
  const latestAt = slotAt - timing.claimAheadMs + timing.claimMayWaitMs
  return Math.min(timing.claimMayWaitMs, Math.max(0, latestAt - context.clock.now()))
}

/** An earlier call that counted as lost may have stored its pictures since, and died before it could say so. */
async function completeFound(context: Context, snapshot: JobSnapshot): Promise<RunOutcome | undefined> {
  if (snapshot.job.possiblyRepeated === 0) return undefined
  const saved = await context.images.find(snapshot.job)
  if (saved === undefined) return undefined
  const change = await changeJob(context, snapshot, (job) => succeeded(job, answered(context, job, saved)))
  return change.kind === 'changed' ? { kind: 'succeeded', images: saved.images.length } : { kind: 'stale' }
}

type Hold =
  { readonly kind: 'slot'; readonly slotAt: number } | { readonly kind: 'none'; readonly code: string }

/**
 * Waits until it is time to claim the job for its slot. Who woke too late must not start at will, which would exceed the
 * limit: it takes a fresh slot when the ledger has one at once. Where others wait there is none; the job then goes back
 * to its place in line, so that nothing is held that could not start soon.
 */
async function holdForSlot(context: Context, message: WorkMessage, wokeAt: number): Promise<Hold> {
  const { clock } = context
  const isLate = clock.now() > message.slotAt + timing.lateMs
  const slotAt = isLate ? await freshSlot(context, message, wokeAt) : message.slotAt
  if (slotAt === undefined) {
    return { kind: 'none', code: wokeAt > message.slotAt + timing.lateMs ? 'message_late' : 'inputs_late' }
  }
  await clock.sleepUntil(slotAt - timing.claimAheadMs, context.stopping)
  const code = await whyNot(context, message, slotAt)
  return code === undefined ? { kind: 'slot', slotAt } : { kind: 'none', code }
}

/** `wokeAt`: only a message that came late raises the lead, not images that did, nor an instance that was not there. */
async function freshSlot(
  context: Context,
  message: WorkMessage,
  wokeAt: number,
): Promise<number | undefined> {
  const { slotAt, deployment } = message
  const now = context.clock.now()
  // A full instance fetches its messages late by itself: an earlier wake-up would only fill it further.
  const { jobs } = context.capacity
  const teachesNothing = jobs.isCrowded(now) || jobs.isColdWake(message.wakeAt)
  const late = { now, wakeAt: message.wakeAt, wokeAt }
  const seen = await viewLedger(context, message)
  if (seen === undefined) return undefined
  const isFree = seen.nextFreeAt <= now + timing.freshSlotMs
  if (!isFree && (teachesNothing || raisedLead(seen, late) === undefined)) return undefined
  let freshAt: number | undefined
  await changeLedger(context, message, (ledger) => {
    const raised = teachesNothing ? undefined : raisedLead(ledger, late)
    const fresh = takeFreshSlot(raised ?? ledger, {
      now: context.clock.now() + timing.claimAheadMs,
      slotAt,
      deployment,
    })
    const isNear = fresh !== undefined && fresh.slotAt <= now + timing.freshSlotMs
    freshAt = isNear ? fresh.slotAt : undefined
    return isNear ? fresh.ledger : raised
  })
  return freshAt
}

/** Why a call may not start at that slot, if it may not. */
async function whyNot(context: Context, message: WorkMessage, slotAt: number): Promise<string | undefined> {
  const { deployment } = message
  const ledger = await viewLedger(context, message)
  if (ledger !== undefined && !mayStart(ledger, { slotAt, deployment })) {
    const isStopped = (memberOf(ledger, deployment)?.breaker ?? null) !== null
    return isStopped ? 'deployment_stopped' : 'deployment_paused'
  }
  if (ledger !== undefined && isRecalled(ledger, message)) return 'slot_recalled'
  if (context.stopping.aborted) return 'stopping'
  return context.clock.now() > slotAt + timing.lateMs ? 'stood_still' : undefined
}

async function call(
  context: Context,
  message: WorkMessage,
  {
    lease,
    inputs,
    trace,
  }: {
    readonly lease: Lease
    readonly inputs: Inputs<InputImage> | undefined
    readonly trace: RunTrace
  },
): Promise<RunOutcome> {
  const { request, deployment } = lease.job
  if (request === null || deployment === null) throw new Error(`job ${jobId(lease.job)} cannot be called`)
  trace.attempt = lease.job.attempts
  const calledAt = context.clock.now()
  const answer = await context.model.generate({ deployment, request, inputs })
  trace.callMs = context.clock.now() - calledAt
  trace.status = answer.kind === 'images' ? 200 : answer.failure.status
  const outcome =
    answer.kind === 'images'
      ? await complete(context, message, { lease, answer, trace })
      : await handleFailure(context, message, lease, answer.failure)
  const { limitRpm } = answer.kind === 'images' ? answer : answer.failure
  await persist(context, async () => noteLimit(context, message, limitRpm))
  return outcome
}

type Images = Extract<ModelAnswer, { kind: 'images' }>

/** Images are stored before the job is completed, so that a rescue finds them and nobody pays again. */
async function complete(
  context: Context,
  message: WorkMessage,
  { lease, answer, trace }: { readonly lease: Lease; readonly answer: Images; readonly trace: RunTrace },
): Promise<RunOutcome> {
  const { batch, key, output, attempts } = lease.job
  const { usage, requestId } = answer
  const finishedAt = context.clock.now()
  // Only another call's answer could be there before us: not for a first attempt that still holds its lease.
  if (attempts > 1 || lease.isLost()) {
    const now = await persist(context, async () => context.jobs.get({ batch, key }))
    if (now === undefined || isFinal(now.job)) return { kind: 'too-late' }
  }
  const facts = { attempt: attempts, usage, requestId, finishedAt }
  const images = await persist(context, async () =>
    context.images.save({ job: { batch, key, output }, facts, images: answer.images }),
  )
  trace.storeMs = context.clock.now() - finishedAt
  trace.bytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  trace.tokensOut = usage.outputTokens
  const done = await finish(context, lease, (job) =>
    succeeded(job, answered(context, job, { facts, images })),
  )
  const isDone = done.kind === 'changed'
  if (isDone && done.job.phase.kind === 'succeeded') trace.microUsd = done.job.phase.costMicroUsd
  await persist(context, async () => noteService(context, message, lease.job))
  return isDone ? { kind: 'succeeded', images: images.length } : { kind: 'too-late' }
}
