import { horizonMs, lowerLead, newLedger, takeSlot, underSettings, type Ledger } from '../core/budget.ts'
import { turns, type Flow, type Turns } from '../core/fairness.ts'
import { jobCounts } from '../core/counters.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { Pool, PoolChange, SlotGrant, TickMessage, TickState, Versioned, WaitingJob } from '../ports.ts'
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
    const isOurs = (await room.budgets.commit(plan.change)) === 'committed' || (await isCommitted(room, plan))
    if (!isOurs) continue
    await carryOut(room, plan)
    return 'ticked'
  }
  throw new Error(
    `pool ${room.pool.name}: no tick came through in ${limits.commitTriesMax} tries; too many writers`,
  )
}

/** A commit whose answer was lost is sent again by the client, and then stands in its own way. */
async function isCommitted(room: Darkroom, { change }: Plan): Promise<boolean> {
  const { epoch, mark } = change.tick.after
  const stored = await room.budgets.readTick(room.pool.name)
  return stored?.epoch === epoch && stored.mark === mark
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
  /** Flows of finished batches, which go. */
  readonly finished: readonly Versioned<Flow>[]
  readonly nextTick: TickMessage & Pick<TickState, 'dueAt' | 'hasRoom'>
}

async function planTick(room: Darkroom, pool: Pool): Promise<Plan> {
  const now = room.clock.now()
  const ledgers = new Map<string, Ledger>()
  for (const settings of room.pool.deployments) {
    const stored = pool.ledgers.find(({ value }) => value.deployment === settings.deployment)
    const ledger = stored === undefined ? newLedger(settings, now) : underSettings(stored.value, settings)
    ledgers.set(settings.deployment, lowerLead(ledger, now))
  }
  const all = pool.flows.map(({ value }) => value)
  const lines = await lookAtIdle(room, { flows: all, ledgers, now })
  // Those that are empty take no turn: it would keep others waiting for nothing.
  const awake = all.filter(
    ({ batch, idleSince }) => idleSince === null || lines.get(batch)?.isEmpty === false,
  )
  const round = turns(awake, pool.tick?.value.virtualTime ?? 0)
  const { grants, nextSlotAt, isCutShort } = await giveSlots(room, { ledgers, round, lines, now })

  const finished = await finishedAmong(
    room,
    pool.flows.filter(({ value }) => lines.get(value.batch)?.isEmpty === true && hasRested(value, now)),
  )
  const { flows, virtualTime } = round.result()
  const changed = pool.flows.flatMap((before) => {
    const flow = flows.get(before.value.batch) ?? before.value
    const idleSince = finished.includes(before)
      ? flow.idleSince
      : idleSinceOf(flow, lines.get(flow.batch), now)
    const isChanged = flow.tag !== before.value.tag || idleSince !== before.value.idleSince
    return isChanged ? [{ before, after: { ...flow, idleSince } }] : []
  })
  // What does not fit waits for the next tick; whom a slot was given to does not.
  const served = changed.filter(({ before, after }) => before.value.tag !== after.tag)
  const idle = changed.filter(({ before, after }) => before.value.tag === after.tag)
  const due = nextDue({ now, flows: pool.flows, lines, grants, nextSlotAt, ledgers, isCutShort })
  const epoch = (pool.tick?.value.epoch ?? 0) + 1
  return {
    change: {
      pool: room.pool.name,
      ledgers: [...ledgers.values()].flatMap((after) => {
        const before = pool.ledgers.find(({ value }) => value.deployment === after.deployment)
        return JSON.stringify(before?.value) === JSON.stringify(after) ? [] : [{ before, after }]
      }),
      flows: [...served, ...idle].slice(0, limits.flowsPerTickMax),
      tick: { before: pool.tick, after: { epoch, ...due, virtualTime, mark: room.newId() } },
    },
    grants,
    leads: new Map([...ledgers].map(([deployment, ledger]) => [deployment, ledger.leadMs])),
    finished,
    nextTick: { pool: room.pool.name, epoch, ...due },
  }
}

/** Found empty, and not woken since: nobody looks at it until it has rested. */
function isResting({ idleSince }: Flow, now: number): boolean {
  return idleSince !== null && now - idleSince >= timing.flowLookMs && now - idleSince < timing.flowIdleMs
}

function hasRested({ idleSince }: Flow, now: number): boolean {
  return idleSince !== null && now - idleSince >= timing.flowIdleMs
}

function idleSinceOf(flow: Flow, line: Line | undefined, now: number): number | null {
  if (line === undefined) return flow.idleSince
  if (!line.isEmpty) return null
  // Empty still, while its batch has jobs running: it rests once more.
  return flow.idleSince === null || hasRested(flow, now) ? now : flow.idleSince
}

/** A flow stays while a job of its batch is unfinished: it is how a rescue finds the batch. */
async function finishedAmong(
  room: Darkroom,
  flows: readonly Versioned<Flow>[],
): Promise<readonly Versioned<Flow>[]> {
  const stored = await Promise.all(flows.map(async ({ value }) => room.jobs.getBatch(value.batch)))
  return flows.filter((_, index) => {
    const counters = stored[index]?.counters
    if (counters === undefined) return true
    const { waiting, running } = jobCounts(counters)
    return waiting + running === 0
  })
}

/** What is known of a flow's waiting line after a round. */
type Line = { jobs: readonly WaitingJob[]; isEmpty: boolean; nextDueAt: number | null }

/**
 * Slots in order of time, over all deployments, each to the flow whose turn it is. Changes `ledgers`, `round` and
 * `lines`.
 */
async function giveSlots(
  room: Darkroom,
  {
    ledgers,
    round,
    lines,
    now,
  }: { ledgers: Map<string, Ledger>; round: Turns; lines: Map<string, Line>; now: number },
): Promise<{ grants: SlotGrant[]; nextSlotAt: number | undefined; isCutShort: boolean }> {
  const grants: SlotGrant[] = []
  const lookedBefore = lines.size
  let flowsServed = 0
  let isCutShort = false
  let slot = earliestSlot(ledgers, now)
  while (slot !== undefined && slot.isWithinHorizon && grants.length < limits.slotsPerTickMax) {
    const flow = round.next()
    if (flow === undefined) break
    let line = lines.get(flow.batch)
    if (line === undefined) {
      // The rest comes with the next tick, which is not far.
      isCutShort =
        lines.size - lookedBefore >= limits.linesPerTickMax || flowsServed >= limits.flowsPerTickMax
      if (isCutShort) break
      line = await lookAt(room, flow, slotsWithinHorizon(ledgers, now))
      lines.set(flow.batch, line)
      if (!line.isEmpty) flowsServed += 1
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
  return { grants, nextSlotAt: slot?.slotAt, isCutShort }
}

/** The lines of flows that were empty when they were last looked at, without those that rest. */
async function lookAtIdle(
  room: Darkroom,
  { flows, ledgers, now }: { flows: readonly Flow[]; ledgers: ReadonlyMap<string, Ledger>; now: number },
): Promise<Map<string, Line>> {
  const idle = flows
    .filter((flow) => flow.idleSince !== null && !isResting(flow, now))
    .sort((a, b) => (a.idleSince ?? 0) - (b.idleSince ?? 0))
    .slice(0, limits.linesPerTickMax)
  const limit = slotsWithinHorizon(ledgers, now)
  const looked = await Promise.all(
    idle.map(async (flow): Promise<[string, Line]> => [flow.batch, await lookAt(room, flow, limit)]),
  )
  return new Map(looked)
}

async function lookAt(room: Darkroom, { batch }: Flow, limit: number): Promise<Line> {
  const jobs = await room.jobs.firstWaiting({ batch, limit })
  return { jobs, isEmpty: jobs.length === 0, nextDueAt: null }
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
}): Pick<TickState, 'dueAt' | 'hasRoom'> {
  const { now, flows, lines, grants, nextSlotAt, ledgers, isCutShort } = tick
  const horizon = Math.max(...[...ledgers.values()].map(horizonMs))
  const hasRoom = nextSlotAt !== undefined && nextSlotAt <= now + horizon
  if (flows.length === 0) return { dueAt: null, hasRoom }
  if (hasRoom && (grants.length > 0 || isCutShort)) return { dueAt: now + timing.settleTickMs, hasRoom }
  const soon = now + timing.tickMs
  if (grants.length > 0) return { dueAt: soon, hasRoom }
  const dueTimes = [...lines.values()].flatMap(({ nextDueAt }) => nextDueAt ?? [])
  // Without a slot within the horizon nobody has looked at the lines: the next look is when there is one.
  const next = hasRoom ? Math.min(...dueTimes) : (nextSlotAt ?? Infinity)
  return { dueAt: Math.min(now + timing.idleTickMs, Math.max(soon, next - horizon)), hasRoom }
}

async function carryOut(room: Darkroom, plan: Plan): Promise<void> {
  const { pool, epoch, dueAt } = plan.nextTick
  room.seen.tickExpectedUntil = trustedUntil(plan.nextTick, room.clock.now())
  // A fault in one batch keeps neither the others nor the next tick.
  const faults: unknown[] = []
  const moved = await Promise.allSettled(
    [...Map.groupBy(plan.grants, ({ batch }) => batch).values()].map(async (grants) =>
      room.jobs.slot(grants),
    ),
  )
  for (const result of moved) if (result.status === 'rejected') faults.push(result.reason)
  const granted = moved
    .flatMap((result) => (result.status === 'fulfilled' ? result.value : []))
    .sort((a, b) => a.slotAt - b.slotAt)
  if (granted.length < plan.grants.length) {
    room.log.info('slots wasted: their jobs were not moved', { slots: plan.grants.length - granted.length })
  }
  const sent = await sendInOrder(granted, async ({ batch, key, slotAt, deployment }) => {
    const wakeAt = Math.max(room.clock.now(), slotAt - (plan.leads.get(deployment) ?? timing.leadMs))
    await room.messages.sendWork({ pool, deployment, batch, key, slotAt, wakeAt }, wakeAt)
  })
  faults.push(...sent)
  if (dueAt !== null) await room.messages.sendTick({ pool, epoch }, dueAt)
  await Promise.all(
    plan.finished.map(async (before) => room.budgets.removeFlow({ pool: room.pool.name, before })),
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
const sendsAtOnce = 16

/** Answers the faults of the sends that failed: their jobs are rescued. */
async function sendInOrder<T>(
  items: readonly T[],
  send: (item: T) => Promise<void>,
): Promise<readonly unknown[]> {
  const rest = items.values()
  const faults: unknown[] = []
  await Promise.all(
    Array.from({ length: sendsAtOnce }, async () => {
      for (const item of rest) await send(item).catch((error: unknown) => faults.push(error))
    }),
  )
  return faults
}
