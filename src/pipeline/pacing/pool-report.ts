import { rpmInForce } from '../../core/budget/level.ts'
import { isInService, startsLastMinute } from '../../core/budget/ledger.ts'
import { jobCounts } from '../../core/jobs/counters.ts'
import { isHalted, type Flow } from '../../core/budget/fairness.ts'
import { limits } from '../../core/limits.ts'
import type { Context } from '../context.ts'
import { ledgersNow } from './pool-view.ts'

/** Logs how each pool stands that has work, once: what dashboards and alerts go by. An idle pool says nothing. */
export async function reportPools(context: Context): Promise<void> {
  for (const { name: pool } of context.pools) {
    const { flows, ledgers } = await context.budgets.read(pool)
    if (flows.length === 0) continue
    const now = context.clock.now()
    const current = ledgersNow(context, pool, ledgers)
    const members = current.flatMap(({ deployments }) => deployments)
    const sum = (of: (ledger: (typeof current)[number]) => number): number =>
      current.reduce((total, ledger) => total + of(ledger), 0)
    // Jobs of a paused batch wait because somebody wants them to.
    const going = flows.map(({ value }) => value).filter((flow) => !isHalted(flow))
    context.log.event('pool', {
      pool,
      ...(await countsOf(context, going)),
      batches: going.length,
      halted: flows.length - going.length,
      rpm: Math.round(sum(({ level, ...quota }) => rpmInForce(level, quota)) * 10) / 10,
      // Slots that came due: they are given whether or not a worker lives to use them.
      slotsLastMinute: sum((ledger) => startsLastMinute(ledger, now)),
      leadMs: Math.max(0, ...current.map(({ leadMs }) => Math.round(leadMs))),
      quotas: current.length,
      paused: current.filter(({ pausedUntil }) => pausedUntil > now).length,
      // Neither count beside it tells: one quota may rest while all that the other has is stopped.
      open: current.filter((ledger) => ledger.pausedUntil <= now && isInService(ledger)).length,
      stopped: members.filter(({ breaker }) => breaker !== null).length,
      deployments: members.length,
    })
  }
}

/** The exact counts of some batches; of further ones what the pacer counted last. */
async function countsOf(
  context: Context,
  flows: readonly Flow[],
): Promise<{ readonly waiting: number; readonly running: number }> {
  const exact = await Promise.all(
    flows.slice(0, limits.reportedBatchesMax).map(async ({ batch }) => context.batches.getBatch(batch)),
  )
  const counts = exact.flatMap((stored) => (stored === undefined ? [] : [jobCounts(stored.counters)]))
  const others = flows.slice(limits.reportedBatchesMax)
  return {
    waiting:
      counts.reduce((total, { waiting }) => total + waiting, 0) +
      others.reduce((total, { backlog }) => total + (backlog?.waiting ?? 0), 0),
    running: counts.reduce((total, { running }) => total + running, 0),
  }
}
