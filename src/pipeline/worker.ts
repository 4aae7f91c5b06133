import { mayStart, paused, reopened, stopped, takeFreshSlot, type Ledger } from '../core/budget.ts'
import { attemptsAllowed, decide, type ModelFailure } from '../core/failure.ts'
import {
  claimed,
  failed,
  isFinal,
  retried,
  snoozed,
  startsAt,
  succeeded,
  unslotted,
  type Job,
} from '../core/job.ts'
import { jobId } from '../core/keys.ts'
import { timing } from '../core/timing.ts'
import type { JobSnapshot, ModelAnswer, WorkMessage } from '../ports.ts'
import { announce, noticeLostTick } from './announce.ts'
import type { Darkroom } from './darkroom.ts'
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
  if (!room.pool.deployments.some(({ deployment }) => deployment === message.deployment)) {
    return giveBack(room, snapshot, `deployment ${message.deployment} is not configured any more`)
  }
  room.seen.running += 1
  try {
    return await runSlotted(room, message, snapshot)
  } finally {
    room.seen.running -= 1
    // Whoever works notices when the pacer's tick has been lost.
    await noticeLostTick(room)
  }
}

/** From this share of its jobs at once on an instance is full. */
const crowdedShare = 0.75

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
  // A full instance fetches its messages late by itself: an earlier wake-up would only fill it further.
  const isCrowded = room.seen.running > room.jobsAtOnce * crowdedShare
  const wokeAt = isCrowded ? message.wakeAt : room.clock.now()
  const first = await holdForSlot(room, message, {
    slotAt: message.slotAt,
    wokeAt,
    aheadMs: timing.claimAheadMs,
  })
  if (first.kind === 'none') return giveBack(room, snapshot, first.why)
  const found = await completeFound(room, snapshot)
  if (found !== undefined) return found
  const running = claimed(snapshot.job, {
    slotAt: first.slotAt,
    deployment: message.deployment,
    leaseUntil: room.clock.now() + timing.leaseMs,
  })
  const claim = running && (await room.jobs.change(snapshot, running))
  if (claim === undefined) return { kind: 'stale' }

  const lease = keepLease(room, claim)
  try {
    const slot = await holdForSlot(room, message, { slotAt: first.slotAt, wokeAt, aheadMs: 0 })
    if (slot.kind === 'none') return await snoozeUnsent(room, lease, slot.why)
    // This process stood still, or was cut off: somebody else may have called meanwhile.
    if (lease.isLost()) return await snoozeUnsent(room, lease, 'its lease was lost before the call')
    return await call(room, lease, slot.slotAt)
  } finally {
    await lease.end()
  }
}

/** An earlier call that counted as lost may have stored its pictures since, and died before it could say so. */
async function completeFound(room: Darkroom, snapshot: JobSnapshot): Promise<RunOutcome | undefined> {
  if (snapshot.job.possiblyRepeated === 0) return undefined
  const saved = await room.images.find(snapshot.job)
  const done = saved && succeeded(snapshot.job, { ...saved.facts, images: saved.images })
  if (saved === undefined || done === undefined) return undefined
  const changed = await room.jobs.change(snapshot, done)
  return changed === undefined ? { kind: 'stale' } : { kind: 'succeeded', images: saved.images.length }
}

type Hold =
  { readonly kind: 'slot'; readonly slotAt: number } | { readonly kind: 'none'; readonly why: string }

/** A worker that misses this many slots one after the other is on a machine that cannot keep time. */
const freshSlotsMax = 5

/**
 * Waits until `aheadMs` before the slot. Who is too late for it takes a fresh one from the ledger and waits for that:
 * starting at will would exceed the limit, and going to the end of the line would waste slots without end.
 */
async function holdForSlot(
  room: Darkroom,
  message: WorkMessage,
  { slotAt: firstSlotAt, wokeAt, aheadMs }: { slotAt: number; wokeAt: number; aheadMs: number },
): Promise<Hold> {
  const { clock, stopping } = room
  const { deployment, wakeAt } = message
  let slotAt = firstSlotAt
  for (let tries = 0; tries <= freshSlotsMax; tries += 1) {
    if (clock.now() > slotAt + timing.lateMs) {
      const missed = { slotAt, wakeAt, wokeAt }
      const fresh = await freshSlot(room, deployment, missed, firstSlotAt + timing.holdMaxMs)
      if (fresh === undefined) return { kind: 'none', why: 'no slot is free soon' }
      slotAt = fresh
    }
    await clock.sleepUntil(slotAt - timing.claimAheadMs, stopping)
    const ledger = await viewLedger(room, deployment)
    if (ledger !== undefined && !mayStart(ledger, slotAt)) return { kind: 'none', why: whyNot(ledger) }
    await clock.sleepUntil(slotAt - aheadMs, stopping)
    if (stopping.aborted) return { kind: 'none', why: 'this instance is stopping' }
    if (clock.now() <= slotAt + timing.lateMs) return { kind: 'slot', slotAt }
  }
  return { kind: 'none', why: 'this instance keeps missing its slots' }
}

async function freshSlot(
  room: Darkroom,
  deployment: string,
  missed: { slotAt: number; wakeAt: number; wokeAt: number },
  latestAt: number,
): Promise<number | undefined> {
  let slotAt: number | undefined
  await changeLedger(room, deployment, (ledger) => {
    const fresh = takeFreshSlot(ledger, { ...missed, now: room.clock.now() })
    // A slot that would not be waited for is not taken from those who would.
    slotAt = fresh !== undefined && fresh.slotAt <= latestAt ? fresh.slotAt : undefined
    return slotAt === undefined ? undefined : fresh?.ledger
  })
  return slotAt
}

function whyNot(ledger: Ledger): string {
  return ledger.breaker === null ? (ledger.pauseReason ?? 'the deployment is paused') : ledger.breaker.message
}

async function call(room: Darkroom, lease: Lease, slotAt: number): Promise<RunOutcome> {
  const { request, deployment } = lease.job
  if (request === null || deployment === null) throw new Error(`job ${jobId(lease.job)} cannot be called`)
  const answer = await room.model.generate({ deployment, request })
  return answer.kind === 'images'
    ? complete(room, lease, slotAt, answer)
    : handleFailure(room, lease, slotAt, answer.failure)
}

type Images = Extract<ModelAnswer, { kind: 'images' }>

/** Images are stored before the job is completed, so that a rescue finds them and nobody pays again. */
async function complete(room: Darkroom, lease: Lease, slotAt: number, answer: Images): Promise<RunOutcome> {
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
  const done = await finish(room, lease, (job) =>
    succeeded(job.attempts === attempts ? startsAt(job, slotAt) : job, {
      finishedAt,
      images,
      usage,
      requestId,
    }),
  )
  await closeBreaker(room, lease.job, slotAt)
  return done === undefined ? { kind: 'too-late' } : { kind: 'succeeded', images: images.length }
}

async function handleFailure(
  room: Darkroom,
  lease: Lease,
  slotAt: number,
  fault: ModelFailure,
): Promise<RunOutcome> {
  const { attempts } = lease.job
  const { kind, code, message, requestId } = fault
  const finishedAt = room.clock.now()
  const decision = decide(
    kind,
    { attempts, attemptsMax: attemptsAllowed(code, room.attemptsMax), onUnknown: room.onUnknown },
    room.chance(),
  )
  const ifOurs = (job: Job): Job | undefined => chain(ofThisRun(lease, job), (ours) => startsAt(ours, slotAt))
  switch (decision.kind) {
    case 'snooze': {
      await persist(room, async () => rest(room, lease.job, decision.pause, fault))
      await finish(room, lease, (job) => chain(ifOurs(job), (ours) => snoozed(ours, { requestId })))
      if (kind === 'throttled') await closeBreaker(room, lease.job, slotAt)
      await announce(room, lease.job.batch)
      return { kind: 'snoozed', why: message }
    }
    case 'retry': {
      const dueAt = finishedAt + decision.delayMs
      const { possiblyPaid } = decision
      await finish(room, lease, (job) =>
        chain(ifOurs(job), (ours) => retried(ours, { dueAt, possiblyPaid, requestId })),
      )
      await announce(room, lease.job.batch)
      return { kind: 'retried', code, dueAt }
    }
    case 'fail': {
      const failure = { kind, code, message }
      await finish(room, lease, (job) =>
        chain(ifOurs(job), (ours) => failed(ours, { finishedAt, failure, requestId })),
      )
      if (kind === 'refused' || kind === 'invalid') await closeBreaker(room, lease.job, slotAt)
      return { kind: 'failed', code }
    }
  }
}

/** The deployment's ledger learns of it before the job goes back, so that its next slot is not given too early. */
async function rest(
  room: Darkroom,
  job: Job,
  pause: 'deployment' | 'breaker',
  { code, message, retryAfterMs }: ModelFailure,
): Promise<void> {
  const now = room.clock.now()
  await changeLedger(room, job.deployment ?? '', (ledger) =>
    pause === 'deployment'
      ? paused(ledger, { now, retryAfterMs, reason: message })
      : stopped(ledger, { now, code, message }),
  )
  room.log.warn(pause === 'deployment' ? 'deployment paused' : 'deployment stopped', {
    deployment: job.deployment,
    code,
    retryAfterMs,
  })
}

/**
 * A call that was started after the breaker had opened was its probe: its answer closes it, be it pictures or a refusal
 * that only a deployment in service gives.
 */
async function closeBreaker(room: Darkroom, job: Job, startedAt: number): Promise<void> {
  if (job.deployment === null) return
  const seen = await viewLedger(room, job.deployment)
  if (seen?.breaker === null || seen === undefined) return
  await changeLedger(room, job.deployment, (ledger) =>
    ledger.breaker !== null && startedAt >= ledger.breaker.openedAt ? reopened(ledger) : undefined,
  )
}

async function giveBack(room: Darkroom, snapshot: JobSnapshot, why: string): Promise<RunOutcome> {
  const waiting = unslotted(snapshot.job)
  if (waiting !== undefined) await room.jobs.change(snapshot, waiting)
  await announce(room, snapshot.job.batch)
  return { kind: 'snoozed', why }
}

async function snoozeUnsent(room: Darkroom, lease: Lease, why: string): Promise<RunOutcome> {
  await finish(room, lease, (job) => chain(ofThisRun(lease, job), (ours) => snoozed(ours)))
  await announce(room, lease.job.batch)
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

function chain(job: Job | undefined, change: (job: Job) => Job | undefined): Job | undefined {
  return job && change(job)
}
