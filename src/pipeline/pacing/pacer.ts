import { pMapSettled } from 'p-map'
import { isSubmitted } from '../../core/timed-id.ts'
import {
  afterQuiet,
  horizonMs,
  lowerLead,
  newLedger,
  underSettings,
  wakeAheadMs,
  type Ledger,
} from '../../core/budget/ledger.ts'
import { byTag, goesOn, isHalted, turns, withShares } from '../../core/budget/fairness.ts'
import { topPaces } from '../../core/budget/level.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { Pool, PoolChange, TickState } from '../../ports/budget.ts'
import type { TickMessage } from '../../ports/messages.ts'
import type { SlotGrant } from '../../ports/jobs.ts'
import { poolNamed, type Context, type PoolSettings } from '../context.ts'
import {
  countBacklog,
  finishedAmong,
  hasRested,
  idleSinceOf,
  lookAtCaps,
  lookAtHalted,
  lookAtIdle,
  removeFlow,
  type Finished,
} from './flow-upkeep.ts'
import { haltAtCap } from './flows.ts'
import { giveSlots, slotsWithinHorizon } from './slots.ts'
import { emptyLine, type Line } from './waiting-lines.ts'

/**
 * One look ahead: gives the slots up to the horizon to the jobs that are next. The only code that throttles.
 *
 * The order matters: the budget is committed before any job moves, and jobs move before their messages are sent, so a
 * crash wastes slots or leaves work for the rescue, but never exceeds the limit. `epoch` is the tick this call stands
 * for; `stale` when it has been run already.
 */
export async function runTick(context: Context, tick: TickMessage): Promise<'ticked' | 'stale'> {
  const result = await runTickNow(context, tick)
  if (result === 'stale') context.ticksOf(tick.pool).cameTooLate(context.clock.now())
  return result
}

/** The same without a message, for who has seen that a tick is wanted. */
export async function runTickNow(context: Context, tick: TickMessage): Promise<'ticked' | 'stale'> {
  const settings = poolNamed(context, tick.pool)
  if (settings === undefined) return 'stale'
  for (let tries = 0; tries < limits.commitTriesMax; tries += 1) {
    const pool = await context.budgets.read(tick.pool)
    if ((pool.tick?.value.epoch ?? 0) !== tick.epoch) return 'stale'
    context.ticksOf(tick.pool).ran(pool.tick?.value.dueAt ?? null, context.clock.now())
    const plan = await planTick(context, settings, pool)
    // A worker may have taken a fresh slot meanwhile: then all is decided anew.
    const isOurs =
      (await context.budgets.commit(plan.change)) === 'committed' || (await isCommitted(context, plan))
    if (!isOurs) continue
    await carryOut(context, plan)
    return 'ticked'
  }
  throw new Error(
    `pool ${tick.pool}: no tick came through in ${limits.commitTriesMax} tries; too many writers`,
  )
}

/** A commit whose answer was lost is sent again by the client, and then stands in its own way. */
async function isCommitted(context: Context, { change }: Plan): Promise<boolean> {
  const { epoch, mark } = change.tick.after
  const stored = await context.budgets.readTick(change.pool)
  return stored?.epoch === epoch && stored.mark === mark
}

type Plan = {
  readonly change: PoolChange
  readonly grants: readonly SlotGrant[]
  /** How long before its slot a job's message becomes visible, by its quota. */
  readonly wakeAheads: ReadonlyMap<string, number>
  readonly caps: ReadonlyMap<string, number>
  /** Cancelled batches in which something waits. */
  readonly swept: readonly string[]
  /** Submitted batches in which nothing waits any more: their end is near. */
  readonly emptied: readonly string[]
  /** Flows of finished batches, which go; their batch as it is stored. */
  readonly finished: readonly Finished[]
  readonly nextTick: TickMessage & Pick<TickState, 'dueAt' | 'hasRoom'>
}

async function planTick(context: Context, settings: PoolSettings, pool: Pool): Promise<Plan> {
  const now = context.clock.now()
  const { instance } = context
  const lastTick = pool.tick?.value
  const ticks = context.ticksOf(settings.name)
  if (context.capacity.jobs.isCrowded(now)) ticks.foundFull()
  const isCold = ticks.isCold(now)
  const aloneSince = lastTick?.instance === instance ? lastTick.aloneSince : now
  const topPace = now - aloneSince < timing.aloneMs ? topPaces.severalClocks : topPaces.oneClock
  const ledgers = new Map<string, Ledger>()
  for (const quota of settings.quotas) {
    const stored = pool.ledgers.find(({ value }) => value.quota === quota.quota)
    const ledger = stored === undefined ? newLedger(quota, now) : underSettings(stored.value, quota)
    ledgers.set(quota.quota, lowerLead(afterQuiet({ ...ledger, topPace }, now), now))
  }
  const { freed, isUnderWay } = await lookAtCaps(context, pool)
  const flows = pool.flows.map(({ value }) => ({
    ...value,
    ...(freed.has(value.batch) ? { decision: goesOn(now, 'calls cost less than they might have') } : {}),
  }))
  const halted = await lookAtHalted(context, flows)
  const lines = await lookAtIdle(context, { flows, limit: slotsWithinHorizon({ ledgers, now, isCold }), now })
  for (const batch of halted.empty) lines.set(batch, emptyLine)
  // Those that are empty take no turn: it would keep others waiting for nothing.
  const awake = withShares(
    flows.filter(
      (flow) => !isHalted(flow) && (flow.idleSince === null || lines.get(flow.batch)?.isEmpty === false),
    ),
    { shareOf: context.shareOf, ownerWeight: context.ownerWeight, isAwake: () => true },
  ).toSorted(byTag)
  const round = turns(awake, lastTick?.virtualTime ?? 0)
  const { grants, nextSlotAt, isCutShort } = await giveSlots(context, awake, {
    ledgers,
    turns: round,
    lines,
    now,
    isCold,
  })

  const rested = pool.flows.filter(
    ({ value }) => lines.get(value.batch)?.isEmpty === true && hasRested(value, now),
  )
  const { finished, unfinalised } = await finishedAmong(context, rested)
  const isFinished = new Set(finished.map(({ flow }) => flow.value.batch))
  const counted = await countBacklog(context, awake, now)
  const after = round.result()
  const flowOf = new Map(flows.map((flow) => [flow.batch, flow]))
  const changed = pool.flows.flatMap((before) => {
    const { batch } = before.value
    const flow = after.flows.get(batch) ?? flowOf.get(batch) ?? before.value
    const idleSince = isFinished.has(batch) ? flow.idleSince : idleSinceOf(flow, lines.get(batch), now)
    const backlog = counted?.batch === batch ? { waiting: counted.waiting, at: now } : flow.backlog
    const isChanged =
      flow.tag !== before.value.tag ||
      idleSince !== before.value.idleSince ||
      backlog !== before.value.backlog ||
      flow.decision !== before.value.decision
    return isChanged ? [{ before, after: { ...flow, idleSince, backlog } }] : []
  })
  // What does not fit waits for the next tick; whom a slot was given to does not.
  const served = changed.filter(({ before, after }) => before.value.tag !== after.tag)
  const others = changed.filter(({ before, after }) => before.value.tag === after.tag)
  const isProbing = [...ledgers.values()].some(({ deployments }) =>
    deployments.some(({ breaker }) => breaker !== null && breaker.probeSlotAt !== null),
  )
  const isBusy = isProbing || isUnderWay || freed.size > 0 || halted.swept.length > 0
  const due = nextDue({ now, flows, lines, grants, nextSlotAt, ledgers, isCutShort, isBusy, isCold })
  const epoch = (lastTick?.epoch ?? 0) + 1
  const caps = flows.flatMap(({ batch, capMicroUsd }): [string, number][] =>
    capMicroUsd === null ? [] : [[batch, capMicroUsd]],
  )
  return {
    change: {
      pool: settings.name,
      ledgers: [...ledgers.values()].flatMap((ledger) => {
        const before = pool.ledgers.find(({ value }) => value.quota === ledger.quota)
        return JSON.stringify(before?.value) === JSON.stringify(ledger) ? [] : [{ before, after: ledger }]
      }),
      flows: [...served, ...others].slice(0, limits.transactionEntitiesMax - 1 - ledgers.size),
      tick: {
        before: pool.tick,
        after: { epoch, ...due, virtualTime: after.virtualTime, instance, aloneSince, mark: context.newId() },
      },
    },
    grants,
    wakeAheads: new Map(
      [...ledgers].map(([quota, ledger]) => [quota, wakeAheadMs(ledger, { isCold, quotas: ledgers.size })]),
    ),
    caps: new Map(caps),
    swept: halted.swept,
    emptied: [
      ...unfinalised,
      ...changed
        .filter(({ before, after: flow }) => before.value.idleSince === null && flow.idleSince !== null)
        .map(({ after: flow }) => flow.batch)
        .filter(isSubmitted),
    ],
    finished,
    nextTick: { pool: settings.name, epoch, ...due },
  }
}

/**
 * When the next tick is due; null when the pool is empty: it then has no ticks at all until a job comes. `hasRoom`: slots
 * were left within the horizon, so a job that comes meanwhile need not wait for it.
 */
function nextDue(tick: {
  now: number
  flows: readonly unknown[]
  lines: ReadonlyMap<string, Line>
  grants: readonly unknown[]
  nextSlotAt: number | undefined
  ledgers: ReadonlyMap<string, Ledger>
  isCutShort: boolean
  isBusy: boolean
  isCold: boolean
}): Pick<TickState, 'dueAt' | 'hasRoom'> {
  const { now, flows, lines, grants, nextSlotAt, ledgers, isCutShort, isBusy, isCold } = tick
  const horizon = Math.max(...[...ledgers.values()].map((ledger) => horizonMs(ledger, isCold)))
  const hasRoom = nextSlotAt !== undefined && nextSlotAt <= now + horizon
  if (flows.length === 0) return { dueAt: null, hasRoom }
  if (hasRoom && (grants.length > 0 || isCutShort)) return { dueAt: now + timing.settleTickMs, hasRoom }
  const soon = now + timing.tickMs
  if (grants.length > 0 || isBusy) return { dueAt: soon, hasRoom }
  const dueTimes = [...lines.values()].flatMap(({ nextDueAt }) => nextDueAt ?? [])
  // Without a slot within the horizon nobody has looked at the lines: the next look is when there is one.
  const next = hasRoom ? Math.min(...dueTimes) : (nextSlotAt ?? Infinity)
  return { dueAt: Math.min(now + timing.idleTickMs, Math.max(soon, next - horizon)), hasRoom }
}

async function carryOut(context: Context, plan: Plan): Promise<void> {
  const { pool, epoch, dueAt } = plan.nextTick
  context.ticksOf(pool).expectUntil(trustedUntil(plan.nextTick, context.clock.now()))
  // A fault in one batch keeps neither the others nor the next tick.
  const moved = await Promise.allSettled(
    [...Map.groupBy(plan.grants, ({ batch }) => batch)].map(async ([batch, grants]) => {
      const given = await context.jobs.slot({ grants, capMicroUsd: plan.caps.get(batch) ?? null })
      if (given.isCapReached) await haltAtCap(context, { pool, batch })
      return given.granted
    }),
  )
  const granted = moved
    .flatMap((result) => (result.status === 'fulfilled' ? result.value : []))
    .sort((a, b) => a.slotAt - b.slotAt)
  if (granted.length < plan.grants.length) {
    context.log.event('slots_wasted', { pool, slots: plan.grants.length - granted.length })
  }
  const send = async ({ batch, key, slotAt, quota, deployment }: SlotGrant): Promise<void> => {
    const wakeAt = Math.max(context.clock.now(), slotAt - (plan.wakeAheads.get(quota) ?? timing.leadMs))
    await context.messages.sendWork({ pool, quota, deployment, batch, key, slotAt, epoch, wakeAt }, wakeAt)
  }
  // In the order of slots. The job of a message that cannot be sent is rescued.
  const sent = await pMapSettled(granted, send, { concurrency: sendsAtOnce })
  if (dueAt !== null) await context.messages.sendTick({ pool, epoch }, dueAt)
  const tidied = await Promise.allSettled([
    ...plan.swept.map(async (batch) =>
      context.jobs.cancelQueued({ batch, limit: limits.sweepRowsMax, now: context.clock.now() }),
    ),
    ...plan.emptied.map(async (batch) =>
      context.messages.sendBatchTask({ task: 'finalise', batch }, context.clock.now()),
    ),
    ...plan.finished.map(async (finished) => removeFlow(context, pool, finished)),
  ])
  const faults = [...moved, ...sent, ...tidied].flatMap((result): unknown[] =>
    result.status === 'rejected' ? [result.reason] : [],
  )
  if (faults.length > 0) throw new AggregateError(faults, 'a tick could not carry out all it had decided')
}

/**
 * Until when a job that comes may rely on the tick that is due, instead of running one. Not on one that is far off only
 * because nothing waited: the job could start before it.
 */
export function trustedUntil({ dueAt, hasRoom }: Pick<TickState, 'dueAt' | 'hasRoom'>, now: number): number {
  const isFarOff = dueAt === null || (hasRoom && dueAt > now + timing.tickMs)
  return isFarOff ? 0 : dueAt - timing.lateMs
}

/** Sends at a time; storage takes many at once, and the earliest slots must not wait for the latest. */
const sendsAtOnce = 32
