import { horizonMs, lowerLead, newLedger, takeSlot, underSettings, type Ledger } from '../core/budget.ts'
import { turns, type Flow, type Turns } from '../core/fairness.ts'
import { jobCounts } from '../core/counters.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { Pool, PoolChange, SlotGrant, TickMessage, Versioned, WaitingJob } from '../ports.ts'
import type { Darkroom } from './darkroom.ts'

/**
 * One look ahead: gives the slots up to the horizon to the jobs that are next. The only code that throttles.
 *
 * The order matters: the budget is committed before any job moves, and jobs move before their messages are sent, so a
 * crash wastes slots or leaves work for the rescue, but never exceeds the limit. `epoch` is the tick this call stands
 * for; `stale` when it has been run already.
 */
export async function runTick(room: Darkroom, epoch: number): Promise<'ticked' | 'stale'> {
  for (let tries = 0; tries < limits.commitTriesMax; tries += 1) {
    const pool = await room.budgets.read(room.pool.name)
    if ((pool.tick?.value.epoch ?? 0) !== epoch) return 'stale'
    const plan = await planTick(room, pool)
    // A worker may have taken a fresh slot meanwhile: then all is decided anew.
    if ((await room.budgets.commit(plan.change)) === 'conflict') continue
    await carryOut(room, plan)
    return 'ticked'
  }
  throw new Error(
    `pool ${room.pool.name}: no tick came through in ${limits.commitTriesMax} tries; too many writers`,
  )
}

/** What came with the tick's message. */
export async function onTickMessage(room: Darkroom, message: TickMessage): Promise<'ticked' | 'stale'> {
  if (message.pool !== room.pool.name) return 'stale'
  return runTick(room, message.epoch)
}

type Plan = {
  readonly change: PoolChange
  readonly grants: readonly SlotGrant[]
  readonly leads: ReadonlyMap<string, number>
  /** Flows that were found empty for so long that they may go. */
  readonly idleFlows: readonly Versioned<Flow>[]
  readonly nextTick: TickMessage & { readonly dueAt: number | null }
}

async function planTick(room: Darkroom, pool: Pool): Promise<Plan> {
  const now = room.clock.now()
  const ledgers = new Map<string, Ledger>()
  for (const settings of room.pool.deployments) {
    const stored = pool.ledgers.find(({ value }) => value.deployment === settings.deployment)
    const ledger = stored === undefined ? newLedger(settings, now) : underSettings(stored.value, settings)
    ledgers.set(settings.deployment, lowerLead(ledger, now))
  }
  const round = turns(
    pool.flows.map(({ value }) => value),
    pool.tick?.value.virtualTime ?? 0,
  )
  const { grants, lines, nextSlotAt } = await giveSlots(room, { ledgers, round, now })

  const { flows, virtualTime } = round.result()
  const served = pool.flows.flatMap((before) => {
    const flow = flows.get(before.value.batch) ?? before.value
    const line = lines.get(flow.batch)
    const idleSince = line === undefined ? flow.idleSince : line.isEmpty ? (flow.idleSince ?? now) : null
    const isChanged = flow.tag !== before.value.tag || idleSince !== before.value.idleSince
    return isChanged ? [{ before, after: { ...flow, idleSince } }] : []
  })
  const dueAt = nextDueAt({ now, flows: pool.flows, lines, grants, nextSlotAt, ledgers })
  const epoch = (pool.tick?.value.epoch ?? 0) + 1
  return {
    change: {
      pool: room.pool.name,
      ledgers: [...ledgers.values()].flatMap((after) => {
        const before = pool.ledgers.find(({ value }) => value.deployment === after.deployment)
        return before?.value === after ? [] : [{ before, after }]
      }),
      flows: served.slice(0, limits.flowsPerTickMax),
      tick: { before: pool.tick, after: { epoch, dueAt, virtualTime } },
    },
    grants,
    leads: new Map([...ledgers].map(([deployment, ledger]) => [deployment, ledger.leadMs])),
    idleFlows: pool.flows.filter(
      ({ value }) =>
        lines.get(value.batch)?.isEmpty === true &&
        value.idleSince !== null &&
        now - value.idleSince >= timing.flowIdleMs,
    ),
    nextTick: { pool: room.pool.name, epoch, dueAt },
  }
}

/** What is known of a flow's waiting line after a round. */
type Line = { jobs: readonly WaitingJob[]; isEmpty: boolean; nextDueAt: number | null }

/** Slots in order of time, over all deployments, each to the flow whose turn it is. Changes `ledgers` and `round`. */
async function giveSlots(
  room: Darkroom,
  { ledgers, round, now }: { ledgers: Map<string, Ledger>; round: Turns; now: number },
): Promise<{ grants: SlotGrant[]; lines: Map<string, Line>; nextSlotAt: number | undefined }> {
  const grants: SlotGrant[] = []
  const lines = new Map<string, Line>()
  let slot = earliestSlot(ledgers, now)
  while (slot !== undefined && slot.isWithinHorizon && grants.length < limits.slotsPerTickMax) {
    const flow = round.next()
    if (flow === undefined) break
    let line = lines.get(flow.batch)
    if (line === undefined) {
      if (lines.size >= limits.flowsPerTickMax) {
        round.leave(flow)
        continue
      }
      const limit = slotsWithinHorizon(ledgers, now)
      const jobs = await room.jobs.firstWaiting({ batch: flow.batch, limit })
      line = { jobs, isEmpty: jobs.length === 0, nextDueAt: null }
      lines.set(flow.batch, line)
    }
    const [job, ...rest] = line.jobs
    if (job === undefined || job.dueAt > slot.slotAt) {
      line.nextDueAt = job?.dueAt ?? null
      round.leave(flow)
      continue
    }
    line.jobs = rest
    grants.push({ ...job, slotAt: slot.slotAt, deployment: slot.ledger.deployment })
    ledgers.set(slot.ledger.deployment, slot.ledger)
    round.serve(flow)
    slot = earliestSlot(ledgers, now)
  }
  return { grants, lines, nextSlotAt: slot?.slotAt }
}

/**
 * The earliest next slot over the pool's deployments, those within their own horizon first: they differ in how long
 * before a slot its message must be sent. The ledger in it is the one after taking it.
 */
function earliestSlot(
  ledgers: ReadonlyMap<string, Ledger>,
  now: number,
): { readonly slotAt: number; readonly ledger: Ledger; readonly isWithinHorizon: boolean } | undefined {
  const slots = [...ledgers.values()].map((ledger) => {
    const taken = takeSlot(ledger, now + timing.firstSlotMs)
    return { ...taken, isWithinHorizon: taken.slotAt <= now + horizonMs(ledger) }
  })
  return slots.reduce<(typeof slots)[number] | undefined>((first, next) => {
    if (first === undefined) return next
    if (next.isWithinHorizon !== first.isWithinHorizon) return next.isWithinHorizon ? next : first
    return next.slotAt < first.slotAt ? next : first
  }, undefined)
}

function slotsWithinHorizon(ledgers: ReadonlyMap<string, Ledger>, now: number): number {
  let slots = 1
  for (const ledger of ledgers.values()) {
    slots += Math.ceil((horizonMs(ledger) * ledger.rpm) / 60_000)
    if (ledger.nextFreeAt > now + horizonMs(ledger)) slots -= 1
  }
  return Math.min(slots, limits.slotsPerTickMax)
}

/** Null when the pool is empty: it then has no ticks at all until a job comes. */
function nextDueAt(tick: {
  now: number
  flows: readonly unknown[]
  lines: ReadonlyMap<string, Line>
  grants: readonly unknown[]
  nextSlotAt: number | undefined
  ledgers: ReadonlyMap<string, Ledger>
}): number | null {
  const { now, flows, lines, grants, nextSlotAt, ledgers } = tick
  if (flows.length === 0) return null
  const soon = now + timing.tickMs
  const horizon = Math.max(...[...ledgers.values()].map(horizonMs))
  const hasRoom = nextSlotAt !== undefined && nextSlotAt <= now + horizon
  if (grants.length > 0) return hasRoom ? now + timing.settleTickMs : soon
  const isLookedAt = lines.size > 0
  const dueTimes = [...lines.values()].flatMap(({ nextDueAt }) => nextDueAt ?? [])
  // Without a slot within the horizon nobody has looked at the lines: the next look is when there is one.
  const next = isLookedAt ? Math.min(...dueTimes) : (nextSlotAt ?? Infinity)
  return Math.min(now + timing.idleTickMs, Math.max(soon, next - horizon))
}

async function carryOut(room: Darkroom, plan: Plan): Promise<void> {
  const { pool, epoch, dueAt } = plan.nextTick
  room.seen.tickExpectedUntil =
    dueAt === null || dueAt > room.clock.now() + timing.tickMs ? 0 : dueAt - timing.lateMs
  const granted = await room.jobs.slot(plan.grants)
  if (granted.length < plan.grants.length) {
    room.log.info('slots wasted: their jobs were moved meanwhile', {
      slots: plan.grants.length - granted.length,
    })
  }
  await sendInOrder(granted, async ({ batch, key, slotAt, deployment }) => {
    const wakeAt = Math.max(room.clock.now(), slotAt - (plan.leads.get(deployment) ?? timing.leadMs))
    await room.messages.sendWork({ pool, deployment, batch, key, slotAt, wakeAt }, wakeAt)
  })
  if (dueAt !== null) await room.messages.sendTick({ pool, epoch }, dueAt)
  await removeFinishedFlows(room, plan.idleFlows)
}

/** Sends at a time; storage takes many at once, and the earliest slots must not wait for the latest. */
const sendsAtOnce = 16

async function sendInOrder<T>(items: readonly T[], send: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  await Promise.all(
    Array.from({ length: sendsAtOnce }, async () => {
      for (const item of rest) await send(item)
    }),
  )
}

/** A flow stays while a job of its batch is unfinished: it is how a rescue finds the batch. */
async function removeFinishedFlows(room: Darkroom, flows: readonly Versioned<Flow>[]): Promise<void> {
  for (const before of flows) {
    const stored = await room.jobs.getBatch(before.value.batch)
    const counts = stored && jobCounts(stored.counters)
    if (counts === undefined || counts.waiting + counts.running === 0) {
      await room.budgets.removeFlow({ pool: room.pool.name, before })
    }
  }
}
