import { isColdWake, jobEnded, jobTaken } from '../../core/budget/at-work.ts'
import { isRecalled, mayStart, memberOf, raisedLead, takeFreshSlot } from '../../core/budget/ledger.ts'
import type { Inputs } from '../../core/requests/input-ref.ts'
import { claimed, isFinal, isGivenUp, succeeded, type Job } from '../../core/jobs/job.ts'
import { jobId } from '../../core/jobs/keys.ts'
import { timing } from '../../core/timing.ts'
import type { InputImage, JobSnapshot, ModelAnswer, WorkMessage } from '../../ports.ts'
import { noticeLostTick } from '../pacing/announce.ts'
import { answered, poolNamed, type Darkroom } from '../darkroom.ts'
import { changeLedger, viewLedger } from '../pacing/ledgers.ts'
import { tellJobEnd } from '../webhooks/webhooks.ts'
import { cancelGivenUp } from './cancel-job.ts'
import { noteService, handleFailure, noteLimit } from './failed-call.ts'
import { keepLease, type Lease } from './lease.ts'
import { endUnsent, loadInputs } from './load-inputs.ts'
import { finish, giveBack, persist, snoozeUnsent, type RunOutcome } from './run-end.ts'
import { logRun, newTrace, type RunTrace } from './run-trace.ts'

/** Runs one job at its slot: holds, claims, calls, stores, completes. What became of it is logged. */
export async function runJob(room: Darkroom, message: WorkMessage): Promise<RunOutcome> {
  const trace = newTrace(message, room.clock.now())
  const outcome = await run(room, message, trace)
  logRun(room, message, { trace, outcome })
  return outcome
}

async function run(room: Darkroom, message: WorkMessage, trace: RunTrace): Promise<RunOutcome> {
  const { seen } = room
  seen.atWork = jobTaken(seen.atWork, { now: room.clock.now(), inHand: seen.running })
  const snapshot = await room.jobs.get(message)
  if (snapshot === undefined || !isAtSlot(snapshot.job, message)) return { kind: 'stale' }
  if (!isConfigured(room, message)) {
    return giveBack(room, snapshot, 'not_configured')
  }
  seen.running += 1
  if (seen.running >= room.jobsAtOnce * crowdedShare) seen.crowdedAt = room.clock.now()
  try {
    return await runSlotted(room, message, { snapshot, trace })
  } finally {
    seen.running -= 1
    seen.atWork = jobEnded(seen.atWork, room.clock.now())
    // Whoever works notices when the pacer's tick has been lost.
    await noticeLostTick(room, message.pool)
  }
}

/** From this share of its jobs at once on a host fetches no more messages: those that come next come late. */
const crowdedShare = 2 / 3
/** Messages that waited for a full host are late for so long after it was full. */
const crowdedForMs = 60_000

function isConfigured(room: Darkroom, { pool, quota, deployment }: WorkMessage): boolean {
  const settings = poolNamed(room, pool)?.quotas.find((each) => each.quota === quota)
  return settings?.deployments.some((each) => each.deployment === deployment) ?? false
}

/** The work message was given up by its queue: the job waits again, unless it has moved on. */
export async function giveUpSlot(room: Darkroom, message: WorkMessage): Promise<void> {
  const snapshot = await room.jobs.get(message)
  if (snapshot === undefined || !isAtSlot(snapshot.job, message)) return
  await giveBack(room, snapshot, 'message_given_up')
}

function isAtSlot(job: Job, message: WorkMessage): boolean {
  return job.phase.kind === 'slotted' && job.phase.slotAt === message.slotAt
}

/** What an edit starts from is fetched before the slot, so that the start is punctual and nothing broken is sent. */
async function runSlotted(
  room: Darkroom,
  message: WorkMessage,
  { snapshot, trace }: Pick<Ready, 'snapshot' | 'trace'>,
): Promise<RunOutcome> {
  const wokeAt = room.clock.now()
  const loaded = await loadInputs(room, snapshot)
  if (loaded.kind !== 'loaded') {
    return (await completeFound(room, snapshot)) ?? endUnsent(room, snapshot, loaded)
  }
  const { seen } = room
  seen.inputBytes += loaded.sizeBytes
  try {
    return await runLoaded(room, message, { snapshot, trace, wokeAt, inputs: loaded.inputs })
  } finally {
    seen.inputBytes -= loaded.sizeBytes
  }
}

type Ready = {
  readonly snapshot: JobSnapshot
  readonly trace: RunTrace
  readonly wokeAt: number
  readonly inputs: Inputs<InputImage> | undefined
}

async function runLoaded(
  room: Darkroom,
  message: WorkMessage,
  { snapshot, trace, wokeAt, inputs }: Ready,
): Promise<RunOutcome> {
  const { deployment } = message
  const hold = await holdForSlot(room, message, wokeAt)
  if (hold.kind === 'none') return giveBack(room, snapshot, hold.code)
  const { slotAt } = hold
  const dearer = dearerNow(room, snapshot.job)
  if (dearer !== undefined) return giveBack(room, snapshot, 'costs_more', dearer)
  const found = await completeFound(room, snapshot)
  if (found !== undefined) return found
  if (isGivenUp(snapshot.job, room.clock.now())) {
    const { kind } = await cancelGivenUp(room, snapshot.job)
    return { kind: kind === 'cancelled' ? 'given-up' : 'stale' }
  }
  const leaseUntil = room.clock.now() + timing.leaseMs
  const running = claimed(snapshot.job, { slotAt, deployment, leaseUntil })
  const mayWaitMs = claimMayWaitMs(room, slotAt)
  const claimingAt = room.clock.now()
  const claim = running && (await room.jobs.change(snapshot, running, { mayWaitMs }))
  if (claim === undefined) return { kind: 'stale' }
  trace.claimMs = room.clock.now() - claimingAt

  const lease = keepLease(room, claim)
  try {
    await room.clock.sleepUntil(slotAt, room.stopping)
    const code = (await whyNot(room, message, slotAt)) ?? (lease.isLost() ? 'lease_lost' : undefined)
    if (code !== undefined) return await snoozeUnsent(room, lease, code)
    trace.slotLateMs = room.clock.now() - slotAt
    return await call(room, message, { lease, inputs, trace })
  } finally {
    await lease.end()
  }
}

/** A job under a cap whose model, or whose prices, are not those it came under: its slot is given anew for what it costs now. */
function dearerNow(room: Darkroom, job: Job): number | undefined {
  const isReserved = job.phase.kind === 'slotted' && job.phase.isReserved
  if (!isReserved || job.request === null) return undefined
  const now = poolNamed(room, job.pool)?.costs.upperMicroUsd(job.request) ?? 0
  return now > job.upperMicroUsd ? now : undefined
}

/** How long a claim may wait to share a transaction; a late worker claims at once. */
function claimMayWaitMs(room: Darkroom, slotAt: number): number {
  const latestAt = slotAt - timing.claimAheadMs + timing.claimMayWaitMs
  return Math.min(timing.claimMayWaitMs, Math.max(0, latestAt - room.clock.now()))
}

/** An earlier call that counted as lost may have stored its pictures since, and died before it could say so. */
async function completeFound(room: Darkroom, snapshot: JobSnapshot): Promise<RunOutcome | undefined> {
  if (snapshot.job.possiblyRepeated === 0) return undefined
  const saved = await room.images.find(snapshot.job)
  const done = saved && succeeded(snapshot.job, answered(room, snapshot.job, saved))
  if (saved === undefined || done === undefined) return undefined
  await tellJobEnd(room, done)
  const changed = await room.jobs.change(snapshot, done)
  return changed === undefined ? { kind: 'stale' } : { kind: 'succeeded', images: saved.images.length }
}

type Hold =
  { readonly kind: 'slot'; readonly slotAt: number } | { readonly kind: 'none'; readonly code: string }

/**
 * Waits until it is time to claim the job for its slot. Who woke too late must not start at will, which would exceed the
 * limit: it takes a fresh slot when the ledger has one at once. Where others wait there is none; the job then goes back
 * to its place in line, so that nothing is held that could not start soon.
 */
async function holdForSlot(room: Darkroom, message: WorkMessage, wokeAt: number): Promise<Hold> {
  const { clock } = room
  const isLate = clock.now() > message.slotAt + timing.lateMs
  const slotAt = isLate ? await freshSlot(room, message, wokeAt) : message.slotAt
  if (slotAt === undefined) {
    return { kind: 'none', code: wokeAt > message.slotAt + timing.lateMs ? 'message_late' : 'inputs_late' }
  }
  await clock.sleepUntil(slotAt - timing.claimAheadMs, room.stopping)
  const code = await whyNot(room, message, slotAt)
  return code === undefined ? { kind: 'slot', slotAt } : { kind: 'none', code }
}

/** `wokeAt`: only a message that came late raises the lead, not images that did, nor an instance that was not there. */
async function freshSlot(room: Darkroom, message: WorkMessage, wokeAt: number): Promise<number | undefined> {
  const { slotAt, deployment } = message
  const now = room.clock.now()
  // A full instance fetches its messages late by itself: an earlier wake-up would only fill it further.
  const isCrowded = now - room.seen.crowdedAt < crowdedForMs
  const teachesNothing = isCrowded || isColdWake(room.seen.atWork, message.wakeAt)
  const late = { now, wakeAt: message.wakeAt, wokeAt }
  const seen = await viewLedger(room, message)
  if (seen === undefined) return undefined
  const isFree = seen.nextFreeAt <= now + timing.freshSlotMs
  if (!isFree && (teachesNothing || raisedLead(seen, late) === undefined)) return undefined
  let freshAt: number | undefined
  await changeLedger(room, message, (ledger) => {
    const raised = teachesNothing ? undefined : raisedLead(ledger, late)
    const fresh = takeFreshSlot(raised ?? ledger, {
      now: room.clock.now() + timing.claimAheadMs,
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
async function whyNot(room: Darkroom, message: WorkMessage, slotAt: number): Promise<string | undefined> {
  const { deployment } = message
  const ledger = await viewLedger(room, message)
  if (ledger !== undefined && !mayStart(ledger, { slotAt, deployment })) {
    const isStopped = (memberOf(ledger, deployment)?.breaker ?? null) !== null
    return isStopped ? 'deployment_stopped' : 'deployment_paused'
  }
  if (ledger !== undefined && isRecalled(ledger, message)) return 'slot_recalled'
  if (room.stopping.aborted) return 'stopping'
  return room.clock.now() > slotAt + timing.lateMs ? 'stood_still' : undefined
}

async function call(
  room: Darkroom,
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
  const calledAt = room.clock.now()
  const answer = await room.model.generate({ deployment, request, inputs })
  trace.callMs = room.clock.now() - calledAt
  trace.status = answer.kind === 'images' ? 200 : answer.failure.status
  const outcome =
    answer.kind === 'images'
      ? await complete(room, message, { lease, answer, trace })
      : await handleFailure(room, message, lease, answer.failure)
  const { limitRpm } = answer.kind === 'images' ? answer : answer.failure
  await persist(room, async () => noteLimit(room, message, limitRpm))
  return outcome
}

type Images = Extract<ModelAnswer, { kind: 'images' }>

/** Images are stored before the job is completed, so that a rescue finds them and nobody pays again. */
async function complete(
  room: Darkroom,
  message: WorkMessage,
  { lease, answer, trace }: { readonly lease: Lease; readonly answer: Images; readonly trace: RunTrace },
): Promise<RunOutcome> {
  const { batch, key, output, attempts } = lease.job
  const { usage, requestId } = answer
  const finishedAt = room.clock.now()
  // Only another call's answer could be there before us: not for a first attempt that still holds its lease.
  if (attempts > 1 || lease.isLost()) {
    const now = await persist(room, async () => room.jobs.get({ batch, key }))
    if (now === undefined || isFinal(now.job)) return { kind: 'too-late' }
  }
  const facts = { attempt: attempts, usage, requestId, finishedAt }
  const images = await persist(room, async () =>
    room.images.save({ job: { batch, key, output }, facts, images: answer.images }),
  )
  trace.storeMs = room.clock.now() - finishedAt
  trace.bytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  trace.tokensOut = usage.outputTokens
  const done = await finish(room, lease, (job) => succeeded(job, answered(room, job, { facts, images })))
  if (done?.job.phase.kind === 'succeeded') trace.microUsd = done.job.phase.costMicroUsd
  await persist(room, async () => noteService(room, message, lease.job))
  return done === undefined ? { kind: 'too-late' } : { kind: 'succeeded', images: images.length }
}
