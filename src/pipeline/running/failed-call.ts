import {
  faulted,
  memberOf,
  reopened,
  stopped,
  throttled,
  toldLimit,
  type Ledger,
} from '../../core/budget/ledger.ts'
import { afterFailure } from '../../core/jobs/after-failure.ts'
import { badAnswer, type ModelFailure } from '../../core/jobs/failure.ts'
import type { Job } from '../../core/jobs/job.ts'
import type { WorkMessage } from '../../ports/messages.ts'
import { announce, nudge } from '../pacing/announce.ts'
import { noticeRefusals } from '../pacing/flows.ts'
import type { Context } from '../context.ts'
import { changeLedger, viewLedger } from '../pacing/ledgers.ts'
import type { Lease } from './lease.ts'
import { persist } from '../jobs/persist.ts'
import { finish, ofThisRun, type RunOutcome } from './run-end.ts'

/** What follows when the model answered with a failure, or not at all: for the job, and for its deployment. */
export async function handleFailure(
  context: Context,
  message: WorkMessage,
  lease: Lease,
  fault: ModelFailure,
): Promise<RunOutcome> {
  const { kind, code } = fault
  const { attempts, slotAt } = lease.job
  const at = { now: context.clock.now(), chance: context.chance() }
  const change = (job: Job) => ofThisRun(lease, job) && afterFailure(job, fault, context, at)
  const noteFailure = async () =>
    persist(context, async () => tellLedger(context, message, { ...fault, slotAt: slotAt ?? at.now }))
  const noteAnswer = async () => persist(context, async () => noteService(context, message, lease.job))

  const next = change(lease.job)
  if (next?.phase.kind === 'waiting') {
    // The deployment's ledger learns of it before the job goes back, so that its next slot is not given too early.
    await noteFailure()
    await finish(context, lease, change, { isAnnouncedByCaller: true })
    // A 429 is a sign of life: the pacer must find it in the ledger.
    if (kind === 'throttled') await noteAnswer()
    await announce(context, lease.job)
    const isCounted = next.attempts === attempts
    return isCounted ? { kind: 'retried', code, dueAt: next.phase.dueAt } : { kind: 'snoozed', code }
  }
  await finish(context, lease, change)
  if (kind === 'refused' || kind === 'invalid') await noteAnswer()
  else await noteFailure()
  if (kind === 'refused') await noticeRefusals(context, lease.job)
  return { kind: 'failed', code }
}

type AtSlot<Fault> = Fault & { readonly slotAt: number }

/** What a failure says of its deployment. */
async function tellLedger(
  context: Context,
  message: WorkMessage,
  fault: AtSlot<ModelFailure>,
): Promise<void> {
  switch (fault.kind) {
    case 'throttled':
      return rest(context, message, 'deployment', fault)
    case 'unavailable':
      return rest(context, message, 'breaker', fault)
    case 'transient':
    case 'unknown':
      return noteFault(context, message, fault)
    case 'refused':
    case 'invalid':
      return undefined
  }
}

/** Its next calls start later, or none but probes. */
async function rest(
  context: Context,
  message: WorkMessage,
  pause: 'deployment' | 'breaker',
  { slotAt, ...fault }: AtSlot<ModelFailure>,
): Promise<void> {
  const now = context.clock.now()
  const { deployment } = message
  const { code, retryAfterMs, cause } = fault
  await changeLedger(context, message, (ledger) =>
    pause === 'deployment'
      ? throttled(ledger, { now, slotAt, retryAfterMs, cause, reason: fault.message })
      : stopped(ledger, { deployment, slotAt, now, code, message: fault.message }),
  )
  const { pool } = message
  context.log.event(pause === 'deployment' ? 'deployment_paused' : 'deployment_stopped', {
    pool,
    deployment,
    code,
    retryAfterMs,
  })
}

/** Headers that speak of the limit correct what the settings say; they hardly ever change. */
export async function noteLimit(
  context: Context,
  message: WorkMessage,
  limitRpm: number | null,
): Promise<void> {
  if (limitRpm === null) return
  const seen = await viewLedger(context, message)
  if (seen === undefined || toldLimit(seen, limitRpm) === undefined) return
  await changeLedger(context, message, (ledger) => toldLimit(ledger, limitRpm))
  const { pool, deployment } = message
  context.log.event('deployment_limit_told', { pool, deployment, limitRpm })
}

/** A deployment from which nothing but faults comes is stopped: its jobs go elsewhere, and none is used up on it. */
async function noteFault(
  context: Context,
  message: WorkMessage,
  { code, slotAt, ...fault }: AtSlot<ModelFailure>,
): Promise<void> {
  // A bad answer is the model's, and comes from a deployment that is in service.
  if (code === badAnswer) return
  const { deployment } = message
  const now = context.clock.now()
  const ledger = await changeLedger(context, message, (before) =>
    faulted(before, { deployment, slotAt, now, code, message: fault.message }),
  )
  if (ledger !== undefined && memberOf(ledger, deployment)?.breaker?.openedAt === now) {
    context.log.event('deployment_stopped', { pool: message.pool, deployment, code })
  }
}

/**
 * An answer, be it pictures or a refusal that only a deployment in service gives: faults before it were not without end,
 * and where the breaker is open and the call was started since, it was the probe.
 */
export async function noteService(context: Context, message: WorkMessage, { startedAt }: Job): Promise<void> {
  const { deployment } = message
  const change = (ledger: Ledger): Ledger | undefined => {
    const member = memberOf(ledger, deployment)
    if (member === undefined) return undefined
    const { breaker, faultsRecently } = member
    const isNews = breaker === null ? faultsRecently.length > 0 : (startedAt ?? 0) >= breaker.openedAt
    return isNews ? reopened(ledger, deployment) : undefined
  }
  const seen = await viewLedger(context, message)
  if (seen === undefined || change(seen) === undefined) return
  const wasStopped = memberOf(seen, deployment)?.breaker !== null
  await changeLedger(context, message, change)
  if (wasStopped) await nudge(context, message.pool)
}
