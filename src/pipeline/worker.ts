import {
  faulted,
  mayStart,
  memberOf,
  paused,
  raisedLead,
  reopened,
  stopped,
  takeFreshSlot,
  type Ledger,
} from '../core/budget.ts'
import { attemptsAllowed, badAnswer, decide, type ModelFailure } from '../core/failure.ts'
import { claimed, failed, isFinal, retried, snoozed, succeeded, unslotted, type Job } from '../core/job.ts'
import { jobId } from '../core/keys.ts'
import { timing } from '../core/timing.ts'
import type { JobSnapshot, ModelAnswer, WorkMessage } from '../ports.ts'
import { announce, noticeLostTick, nudge } from './announce.ts'
import { noticeRefusals } from './batches.ts'
import { answered, poolNamed, type Darkroom } from './darkroom.ts'
import { keepLease, type Lease } from './lease.ts'
import { changeLedger, viewLedger } from './ledgers.ts'

/** What became of one run of a job. `stale`: the message spoke of a slot that the job no longer has. */
export type RunOutcome =
  | { readonly kind: 'stale' }
  | { readonly kind: 'snoozed'; readonly why: string }
  | { readonly kind: 'succeeded'; readonly images: number }
  | { readonly kind: 'retried'; readonly code: string; readonly dueAt: number }
  | { readonly kind: 'failed'; readonly code: string }
  /** The answer came after somebody else had finished the job. */
  | { readonly kind: 'too-late' }

/** Runs one job at its slot: holds, claims, calls, stores, completes. */
export async function runJob(room: Darkroom, message: WorkMessage): Promise<RunOutcome> {
  const snapshot = await room.jobs.get(message)
  if (snapshot === undefined || !isAtSlot(snapshot.job, message)) return { kind: 'stale' }
  if (!isConfigured(room, message)) {
    return giveBack(room, snapshot, `deployment ${message.deployment} is not configured any more`)
  }
  const { seen } = room
  seen.running += 1
  if (seen.running >= room.jobsAtOnce * crowdedShare) seen.crowdedAt = room.clock.now()
  try {
    return await runSlotted(room, message, snapshot)
  } finally {
    seen.running -= 1
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
  await giveBack(room, snapshot, 'its message was given up')
}

function isAtSlot(job: Job, message: WorkMessage): boolean {
  return job.phase.kind === 'slotted' && job.phase.slotAt === message.slotAt
}

async function runSlotted(room: Darkroom, message: WorkMessage, snapshot: JobSnapshot): Promise<RunOutcome> {
  const { deployment } = message
  const hold = await holdForSlot(room, message)
  if (hold.kind === 'none') return giveBack(room, snapshot, hold.why)
  const { slotAt } = hold
  const found = await completeFound(room, snapshot)
  if (found !== undefined) return found
  const leaseUntil = room.clock.now() + timing.leaseMs
  const running = claimed(snapshot.job, { slotAt, deployment, leaseUntil })
  const claim = running && (await room.jobs.change(snapshot, running))
  if (claim === undefined) return { kind: 'stale' }

  const lease = keepLease(room, claim)
  try {
    await room.clock.sleepUntil(slotAt, room.stopping)
    const why = (await whyNot(room, message, slotAt)) ?? (lease.isLost() ? 'its lease was lost' : undefined)
    if (why !== undefined) return await snoozeUnsent(room, lease, why)
    return await call(room, message, lease)
  } finally {
    await lease.end()
  }
}

/** An earlier call that counted as lost may have stored its pictures since, and died before it could say so. */
async function completeFound(room: Darkroom, snapshot: JobSnapshot): Promise<RunOutcome | undefined> {
  if (snapshot.job.possiblyRepeated === 0) return undefined
  const saved = await room.images.find(snapshot.job)
  const done = saved && succeeded(snapshot.job, answered(room, snapshot.job, saved))
  if (saved === undefined || done === undefined) return undefined
  const changed = await room.jobs.change(snapshot, done)
  return changed === undefined ? { kind: 'stale' } : { kind: 'succeeded', images: saved.images.length }
}

type Hold =
  { readonly kind: 'slot'; readonly slotAt: number } | { readonly kind: 'none'; readonly why: string }

/**
 * Waits until it is time to claim the job for its slot. Who woke too late must not start at will, which would exceed the
 * limit: it takes a fresh slot when the ledger has one at once. Where others wait there is none; the job then goes back
 * to its place in line, so that nothing is held that could not start soon.
 */
async function holdForSlot(room: Darkroom, message: WorkMessage): Promise<Hold> {
  const { clock } = room
  const wokeAt = clock.now()
  const isLate = wokeAt > message.slotAt + timing.lateMs
  const slotAt = isLate ? await freshSlot(room, message, wokeAt) : message.slotAt
  if (slotAt === undefined) return { kind: 'none', why: 'its message came too late for its slot' }
  await clock.sleepUntil(slotAt - timing.claimAheadMs, room.stopping)
  const why = await whyNot(room, message, slotAt)
  return why === undefined ? { kind: 'slot', slotAt } : { kind: 'none', why }
}

async function freshSlot(room: Darkroom, message: WorkMessage, now: number): Promise<number | undefined> {
  const { slotAt, deployment } = message
  // A full instance fetches its messages late by itself: an earlier wake-up would only fill it further.
  const isCrowded = now - room.seen.crowdedAt < crowdedForMs
  const late = { now, wakeAt: message.wakeAt, wokeAt: now }
  const seen = await viewLedger(room, message)
  if (seen === undefined) return undefined
  const isFree = seen.nextFreeAt <= now + timing.freshSlotMs
  if (!isFree && (isCrowded || raisedLead(seen, late) === undefined)) return undefined
  let freshAt: number | undefined
  await changeLedger(room, message, (ledger) => {
    const raised = isCrowded ? undefined : raisedLead(ledger, late)
    const fresh = takeFreshSlot(raised ?? ledger, { now: room.clock.now(), slotAt, deployment })
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
    const breaker = memberOf(ledger, deployment)?.breaker
    return breaker?.message ?? ledger.pauseReason ?? 'the deployment is paused'
  }
  if (room.stopping.aborted) return 'this instance is stopping'
  return room.clock.now() > slotAt + timing.lateMs ? 'this instance stood still' : undefined
}

async function call(room: Darkroom, message: WorkMessage, lease: Lease): Promise<RunOutcome> {
  const { request, deployment } = lease.job
  if (request === null || deployment === null) throw new Error(`job ${jobId(lease.job)} cannot be called`)
  const answer = await room.model.generate({ deployment, request })
  return answer.kind === 'images'
    ? complete(room, message, lease, answer)
    : handleFailure(room, message, lease, answer.failure)
}

type Images = Extract<ModelAnswer, { kind: 'images' }>

/** Images are stored before the job is completed, so that a rescue finds them and nobody pays again. */
async function complete(
  room: Darkroom,
  message: WorkMessage,
  lease: Lease,
  answer: Images,
): Promise<RunOutcome> {
  const { batch, key, attempts } = lease.job
  const { usage, requestId } = answer
  const finishedAt = room.clock.now()
  // Only another call's answer could be there before us: not for a first attempt that still holds its lease.
  if (attempts > 1 || lease.isLost()) {
    const now = await persist(room, async () => room.jobs.get({ batch, key }))
    if (now === undefined || isFinal(now.job)) return { kind: 'too-late' }
  }
  const facts = { attempt: attempts, usage, requestId, finishedAt }
  const images = await persist(room, async () =>
    room.images.save({ job: { batch, key }, facts, images: answer.images }),
  )
  const done = await finish(room, lease, (job) => succeeded(job, answered(room, job, { facts, images })))
  await closeBreaker(room, message, lease.job)
  return done === undefined ? { kind: 'too-late' } : { kind: 'succeeded', images: images.length }
}

async function handleFailure(
  room: Darkroom,
  message: WorkMessage,
  lease: Lease,
  fault: ModelFailure,
): Promise<RunOutcome> {
  const { attempts } = lease.job
  const { kind, code, requestId } = fault
  const finishedAt = room.clock.now()
  const decision = decide(
    kind,
    { attempts, attemptsMax: attemptsAllowed(code, room.attemptsMax), onUnknown: room.onUnknown },
    room.chance(),
  )
  const ifOurs = (change: (job: Job) => Job | undefined) => (job: Job) => ofThisRun(lease, job) && change(job)
  switch (decision.kind) {
    case 'snooze': {
      await persist(room, async () => rest(room, message, decision.pause, fault))
      await finish(
        room,
        lease,
        ifOurs((job) => snoozed(job, { requestId })),
      )
      if (kind === 'throttled') await closeBreaker(room, message, lease.job)
      await announce(room, lease.job)
      return { kind: 'snoozed', why: fault.message }
    }
    case 'retry': {
      const dueAt = finishedAt + decision.delayMs
      const { possiblyPaid } = decision
      await noteFault(room, message, fault)
      await finish(
        room,
        lease,
        ifOurs((job) => retried(job, { dueAt, possiblyPaid, requestId })),
      )
      await announce(room, lease.job)
      return { kind: 'retried', code, dueAt }
    }
    case 'fail': {
      const failure = { kind, code, message: fault.message }
      await finish(
        room,
        lease,
        ifOurs((job) => failed(job, { finishedAt, failure, requestId })),
      )
      if (kind === 'refused' || kind === 'invalid') await closeBreaker(room, message, lease.job)
      else await noteFault(room, message, fault)
      if (kind === 'refused') await noticeRefusals(room, lease.job)
      return { kind: 'failed', code }
    }
  }
}

/** The deployment's ledger learns of it before the job goes back, so that its next slot is not given too early. */
async function rest(
  room: Darkroom,
  message: WorkMessage,
  pause: 'deployment' | 'breaker',
  fault: ModelFailure,
): Promise<void> {
  const now = room.clock.now()
  const { deployment } = message
  const { code, retryAfterMs } = fault
  await changeLedger(room, message, (ledger) =>
    pause === 'deployment'
      ? paused(ledger, { now, retryAfterMs, reason: fault.message })
      : stopped(ledger, { deployment, now, code, message: fault.message }),
  )
  room.log.warn(pause === 'deployment' ? 'deployment paused' : 'deployment stopped', {
    deployment,
    code,
    retryAfterMs,
  })
}

/** A deployment from which nothing but faults comes is stopped: its jobs go elsewhere, and none is used up on it. */
async function noteFault(
  room: Darkroom,
  message: WorkMessage,
  { code, ...fault }: ModelFailure,
): Promise<void> {
  // A bad answer is the model's, and comes from a deployment that is in service.
  if (code === badAnswer) return
  const { deployment } = message
  const now = room.clock.now()
  const ledger = await changeLedger(room, message, (before) =>
    faulted(before, { deployment, now, code, message: fault.message }),
  )
  if (ledger !== undefined && memberOf(ledger, deployment)?.breaker?.openedAt === now) {
    room.log.warn('deployment stopped', { deployment, code })
  }
}

/**
 * A call that was started after the breaker had opened was its probe: its answer closes it, be it pictures or a refusal
 * that only a deployment in service gives.
 */
async function closeBreaker(room: Darkroom, message: WorkMessage, { startedAt }: Job): Promise<void> {
  const { deployment } = message
  const isProbe = (ledger: Ledger): boolean => {
    const breaker = memberOf(ledger, deployment)?.breaker ?? null
    return breaker !== null && (startedAt ?? 0) >= breaker.openedAt
  }
  const seen = await viewLedger(room, message)
  if (seen === undefined || (memberOf(seen, deployment)?.breaker ?? null) === null) return
  await changeLedger(room, message, (ledger) => (isProbe(ledger) ? reopened(ledger, deployment) : undefined))
  await nudge(room, message.pool)
}

async function giveBack(room: Darkroom, snapshot: JobSnapshot, why: string): Promise<RunOutcome> {
  const waiting = unslotted(snapshot.job)
  if (waiting !== undefined) await room.jobs.change(snapshot, waiting)
  await announce(room, snapshot.job)
  return { kind: 'snoozed', why }
}

async function snoozeUnsent(room: Darkroom, lease: Lease, why: string): Promise<RunOutcome> {
  await finish(room, lease, (job) => ofThisRun(lease, job) && snoozed(job))
  await announce(room, lease.job)
  return { kind: 'snoozed', why }
}

/** Tries of a change that somebody else's change of the same job can get in the way of; twice is rare. */
const finishTriesMax = 10

/**
 * Ends the run with a change of the job, made against what the job is now: a rescue may have moved it. Undefined when
 * the job, as it stands, has no use for the change.
 */
async function finish(
  room: Darkroom,
  lease: Lease,
  change: (job: Job) => Job | undefined,
): Promise<JobSnapshot | undefined> {
  // The lease goes on until the change is written: what was answered must not look like a death meanwhile.
  return persist(room, async () => {
    let before: JobSnapshot | undefined = lease.held()
    for (let tries = 0; tries < finishTriesMax && before !== undefined; tries += 1) {
      const after = change(before.job)
      if (after === undefined) return undefined
      const changed = await room.jobs.change(before, after)
      if (changed !== undefined) return changed
      before = await room.jobs.get(before.job)
    }
    return undefined
  })
}

/** Waits between tries to keep what was paid for while storage is away, beyond the storage client's own tries. */
const persistDelaysMs = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]

async function persist<T>(room: Darkroom, act: () => Promise<T>): Promise<T> {
  for (const delayMs of persistDelaysMs) {
    try {
      return await act()
    } catch (error) {
      room.log.warn('storage did not take a result; trying again', { error: String(error), delayMs })
      await room.clock.sleepUntil(room.clock.now() + delayMs)
    }
  }
  return act()
}

/** The job, if nobody has moved it since this run claimed it: each later claim counts another attempt. */
function ofThisRun(lease: Lease, job: Job): Job | undefined {
  return job.phase.kind === 'running' && job.attempts === lease.job.attempts ? job : undefined
}
