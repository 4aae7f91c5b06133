import { limitRpm, rpmInForce } from '../../core/budget/level.ts'
import { opinion } from '../../core/budget/diagnosis.ts'
import { budgetStatus, type DeploymentStatus } from '../../pipeline/status/status.ts'
import { exactSeconds, reply, seconds, type Call, type Reply } from '../reply.ts'

/** GET /v1/budget: what each deployment may start, and when. */
export async function getBudget({ context }: Call): Promise<Reply> {
  const deployments = await budgetStatus(context)
  const now = context.clock.now()
  return reply(200, {
    object: 'budget',
    deployments: deployments.map((status) => deploymentBody(status, now)),
  })
}

/** GET /healthz: whether storage answers, and which deployments are stopped. Anyone may ask: the words are in /v1/budget. */
export async function getHealth({ context }: Call): Promise<Reply> {
  const deployments = await budgetStatus(context)
  const stopped = deployments.flatMap(({ member: { deployment, breaker } }) =>
    breaker === null ? [] : [{ deployment, code: breaker.code }],
  )
  return reply(200, { status: stopped.length === 0 ? 'ok' : 'degraded', stopped })
}

/** Pace and slots are those of the quota, which several deployments may share. */
function deploymentBody(
  { pool, ledger, member, spacingMs, startsLastMinute }: DeploymentStatus,
  now: number,
): object {
  const { breaker } = member
  const isPaused = ledger.pausedUntil > now
  return {
    deployment: member.deployment,
    pool,
    quota: ledger.quota,
    rpm: ledger.rpm,
    pace: ledger.pace,
    limit_rpm: limitRpm(ledger.level, ledger),
    starts_per_minute: Math.round(rpmInForce(ledger.level, ledger) * 100) / 100,
    opinion:
      breaker === null
        ? opinion(ledger.level, ledger, now)
        : { kind: 'stopped', text: `Nothing starts here but probes: ${breaker.message}` },
    spacing_seconds: exactSeconds(spacingMs),
    next_free_slot_at: exactSeconds(Math.max(now, ledger.nextFreeAt)),
    lead_seconds: exactSeconds(ledger.leadMs),
    starts_last_minute: startsLastMinute,
    paused_until: isPaused ? seconds(ledger.pausedUntil) : null,
    pause_reason: isPaused ? ledger.pauseReason : null,
    stopped: breaker && {
      since: seconds(breaker.openedAt),
      code: breaker.code,
      message: breaker.message,
      next_probe_at: seconds(breaker.probeSlotAt ?? breaker.nextProbeAt),
    },
  }
}
