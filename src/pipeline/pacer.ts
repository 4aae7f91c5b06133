import {
  horizonMs,
  lowerLead,
  newLedger,
  spacingMs,
  takeSlot,
  underSettings,
  type Ledger,
  type Slot,
} from '../core/budget.ts'
import { committedMicroUsd, jobCounts } from '../core/counters.ts'
import { isAtCap, isHalted, termsOf, turns, type Decision, type Flow, type Turns } from '../core/fairness.ts'
import { priorityLines } from '../core/keys.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type {
  Batch,
  Pool,
  PoolChange,
  SlotGrant,
  TickMessage,
  TickState,
  Versioned,
  WaitingJob,
} from '../ports.ts'
import { poolNamed, ticksSeen, type Darkroom, type PoolSettings } from './darkroom.ts'
import { haltAtCap } from './flows.ts'

/**
 * One look ahead: gives the slots up to the horizon to the jobs that are next. The only code that throttles.
 *
 * The order matters: the budget is committed before any job moves, and jobs move before their messages are sent, so a
 * crash wastes slots or leaves work for the rescue, but never exceeds the limit. `epoch` is the tick this call stands
 * for; `stale` when it has been run already.
 */
export async function runTick(room: Darkroom, tick: TickMessage): Promise<'ticked' | 'stale'> {
  const settings = poolNamed(room, tick.pool)
  if (settings === undefined) return 'stale'
  for (let tries = 0; tries < limits.commitTriesMax; tries += 1) {
    const pool = await room.budgets.read(tick.pool)
    if ((pool.tick?.value.epoch ?? 0) !== tick.epoch) return 'stale'
    const plan = await planTick(room, settings, pool)
    // A worker may have taken a fresh slot meanwhile: then all is decided anew.
    const isOurs = (await room.budgets.commit(plan.change)) === 'committed' || (await isCommitted(room, plan))
    if (!isOurs) continue
    await carryOut(room, plan)
    return 'ticked'
  }
  throw new Error(
    `pool ${tick.pool}: no tick came through in ${limits.commitTriesMax} tries; too many writers`,
  )
}

/** A commit whose answer was lost is sent again by the client, and then stands in its own way. */
async function isCommitted(room: Darkroom, { change }: Plan): Promise<boolean> {
  const { epoch, mark } = change.tick.after
  const stored = await room.budgets.readTick(change.pool)
  return stored?.epoch === epoch && stored.mark === mark
}

type Plan = {
  readonly change: PoolChange
  readonly grants: readonly SlotGrant[]
  readonly leads: ReadonlyMap<string, number>
  readonly caps: ReadonlyMap<string, number>
  /** Cancelled batches in which something waits. */
  readonly swept: readonly string[]
  /** Flows of finished batches, which go; their batch as it is stored. */
  readonly finished: readonly Finished[]
  readonly nextTick: TickMessage & Pick<TickState, 'dueAt' | 'hasRoom'>
}

async function planTick(room: Darkroom, settings: PoolSettings, pool: Pool): Promise<Plan> {
  const now = room.clock.now()
  const ledgers = new Map<string, Ledger>()
  for (const quota of settings.quotas) {
    const stored = pool.ledgers.find(({ value }) => value.quota === quota.quota)
    const ledger = stored === undefined ? newLedger(quota, now) : underSettings(stored.value, quota)
    ledgers.set(quota.quota, lowerLead(ledger, now))
  }
  const freed = await freedByCap(room, pool)
  const flows = pool.flows.map(({ value }) => ({
    ...value,
    share: room.shareOf(value.batch),
    ...(freed.has(value.batch) ? { decision: goesOn(now) } : {}),
  }))
  const halted = await lookAtHalted(room, flows)
  const lines = await lookAtIdle(room, { flows, ledgers, now })
  for (const batch of halted.empty) lines.set(batch, { ...emptyLine })
  // Those that are empty take no turn: it would keep others waiting for nothing.
  const awake = flows.filter(
    (flow) => !isHalted(flow) && (flow.idleSince === null || lines.get(flow.batch)?.isEmpty === false),
  )
  const round = turns(awake, pool.tick?.value.virtualTime ?? 0)
  const { grants, nextSlotAt, isCutShort } = await giveSlots(room, { ledgers, round, lines, now })

  const finished = await finishedAmong(
    room,
    pool.flows.filter(({ value }) => lines.get(value.batch)?.isEmpty === true && hasRested(value, now)),
  )
  const isFinished = new Set(finished.map(({ flow }) => flow.value.batch))
  const counted = await countBacklog(room, awake, now)
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
  const isWaitingForCap = flows.some(isAtCap)
  const due = nextDue({ now, flows, lines, grants, nextSlotAt, ledgers, isCutShort, isWaitingForCap })
  const epoch = (pool.tick?.value.epoch ?? 0) + 1
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
      flows: [...served, ...others].slice(0, limits.flowsPerTickMax),
      tick: {
        before: pool.tick,
        after: { epoch, ...due, virtualTime: after.virtualTime, mark: room.newId() },
      },
    },
    grants,
    leads: new Map([...ledgers].map(([quota, ledger]) => [quota, ledger.leadMs])),
    caps: new Map(caps),
    swept: halted.swept,
    finished,
    nextTick: { pool: settings.name, epoch, ...due },
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

function goesOn(now: number): Decision {
  return { kind: 'resumed', by: 'cap', reason: 'calls cost less than they might have', at: now }
}

/** Batches that stand at their cap while calls are under way: each that costs less than it might leaves room. */
async function freedByCap(room: Darkroom, pool: Pool): Promise<ReadonlySet<string>> {
  const atCap = pool.flows
    .map(({ value }) => value)
    .filter(isAtCap)
    .slice(0, limits.capsPerTickMax)
  const freed = await Promise.all(
    atCap.map(async ({ batch, capMicroUsd }) => {
      const [stored, [first]] = await Promise.all([
        room.jobs.getBatch(batch),
        room.jobs.firstWaiting({ batch, limit: 1 }),
      ])
      if (stored === undefined || first === undefined) return []
      const isWithin =
        capMicroUsd === null || committedMicroUsd(stored.counters) + first.upperMicroUsd <= capMicroUsd
      return isWithin ? [batch] : []
    }),
  )
  return new Set(freed.flat())
}

/** What waits in a cancelled batch is swept; a paused one is looked at now and then, in case nothing waits any more. */
async function lookAtHalted(
  room: Darkroom,
  flows: readonly Flow[],
): Promise<{ readonly empty: readonly string[]; readonly swept: readonly string[] }> {
  const awake = flows.filter((flow) => isHalted(flow) && flow.idleSince === null)
  const cancelled = awake
    .filter(({ decision }) => decision?.kind === 'cancelled')
    .slice(0, limits.sweepsPerTickMax)
  const paused = awake.filter(({ decision }) => decision?.kind === 'paused')
  const anyPaused = paused.at(Math.floor(room.chance() * paused.length))
  const looked = await Promise.all(
    [...cancelled, ...(anyPaused === undefined ? [] : [anyPaused])].map(async ({ batch }) => {
      const waiting = await room.jobs.firstWaiting({ batch, limit: 1 })
      return { batch, isEmpty: waiting.length === 0 }
    }),
  )
  const empty = looked.flatMap(({ batch, isEmpty }) => (isEmpty ? [batch] : []))
  return { empty, swept: cancelled.flatMap(({ batch }) => (empty.includes(batch) ? [] : [batch])) }
}

/** How long the estimates of others may rely on a count. */
const backlogKnownMs = 30_000

/** Counts what waits in one of several flows: what each may expect depends on how long the others go on. */
async function countBacklog(
  room: Darkroom,
  flows: readonly Flow[],
  now: number,
): Promise<{ readonly batch: string; readonly waiting: number } | undefined> {
  if (flows.length < 2) return undefined
  const oldest = flows.reduce((first, flow) =>
    (flow.backlog?.at ?? 0) < (first.backlog?.at ?? 0) ? flow : first,
  )
  if (oldest.backlog !== null && now - oldest.backlog.at < backlogKnownMs) return undefined
  const stored = await room.jobs.getBatch(oldest.batch)
  return { batch: oldest.batch, waiting: stored === undefined ? 0 : jobCounts(stored.counters).waiting }
}

type Finished = { readonly flow: Versioned<Flow>; readonly batch: Batch | undefined }

/** A flow stays while a job of its batch is unfinished: it is how a rescue finds the batch. */
async function finishedAmong(
  room: Darkroom,
  flows: readonly Versioned<Flow>[],
): Promise<readonly Finished[]> {
  const looked = await Promise.all(
    flows.map(async (flow): Promise<Finished[]> => {
      const stored = await room.jobs.getBatch(flow.value.batch)
      if (stored === undefined) return [{ flow, batch: undefined }]
      const { waiting, running } = jobCounts(stored.counters)
      return waiting + running === 0 ? [{ flow, batch: stored.batch }] : []
    }),
  )
  return looked.flat()
}

/** What is known of a flow's waiting line after a round: its jobs by priority, in order of their due times. */
type Line = { readonly jobs: readonly Iterated[]; readonly isEmpty: boolean; nextDueAt: number | null }

/** Jobs of one priority, and how many of them have got a slot. */
type Iterated = { readonly waiting: readonly WaitingJob[]; taken: number }

const emptyLine: Line = { jobs: [], isEmpty: true, nextDueAt: null }

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
      line = await lookAt(room, flow, { limit: slotsWithinHorizon(ledgers, now), until: slot.slotAt })
      lines.set(flow.batch, line)
      if (!line.isEmpty) flowsServed += 1
    }
    const job = takeDue(line, slot.slotAt)
    if (job === undefined) {
      round.leave()
      continue
    }
    const { quota } = slot.ledger
    grants.push({ ...job, slotAt: slot.slotAt, quota, deployment: slot.deployment })
    ledgers.set(quota, slot.ledger)
    round.serve(job.priority)
    slot = earliestSlot(ledgers, now)
  }
  return { grants, nextSlotAt: slot?.slotAt, isCutShort }
}

/** The first job that may start then; else notes when the line has one. */
function takeDue(line: Line, slotAt: number): WaitingJob | undefined {
  line.nextDueAt = null
  for (const jobs of line.jobs) {
    const first = jobs.waiting[jobs.taken]
    if (first === undefined) continue
    if (first.dueAt <= slotAt) {
      jobs.taken += 1
      return first
    }
    line.nextDueAt = Math.min(line.nextDueAt ?? Infinity, first.dueAt)
  }
  return undefined
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
    idle.map(async (flow): Promise<[string, Line]> => [
      flow.batch,
      await lookAt(room, flow, { limit, until: now }),
    ]),
  )
  return new Map(looked)
}

/** Jobs that are due later must not hide those of a lower priority that are due by then. */
async function lookAt(
  room: Darkroom,
  { batch }: Flow,
  { limit, until }: { limit: number; until: number },
): Promise<Line> {
  const all: WaitingJob[] = []
  let from = priorityLines.at(0)
  while (from !== undefined) {
    const found: readonly WaitingJob[] = await room.jobs.firstWaiting({ batch, limit, from })
    all.push(...found)
    const isEnough = found.length < limit || all.filter(({ dueAt }) => dueAt <= until).length >= limit
    const last = found.at(-1)
    from =
      isEnough || last === undefined ? undefined : priorityLines.at(priorityLines.indexOf(last.priority) + 1)
  }
  const jobs = priorityLines.map((line) => ({
    waiting: all.filter(({ priority }) => priority === line),
    taken: 0,
  }))
  return { jobs, isEmpty: all.length === 0, nextDueAt: null }
}

/**
 * The earliest next slot over the pool's quotas, those within their own horizon first: they differ in how long before a
 * slot its message must be sent. The ledger in it is the one after taking it.
 */
function earliestSlot(
  ledgers: ReadonlyMap<string, Ledger>,
  now: number,
): (Slot & { readonly isWithinHorizon: boolean }) | undefined {
  let first: (Slot & { readonly isWithinHorizon: boolean }) | undefined
  for (const ledger of ledgers.values()) {
    const taken = takeSlot(ledger, now + timing.firstSlotMs)
    const next = { ...taken, isWithinHorizon: taken.slotAt <= now + horizonMs(ledger) }
    const isFirst =
      first === undefined ||
      (next.isWithinHorizon === first.isWithinHorizon ? next.slotAt < first.slotAt : next.isWithinHorizon)
    if (isFirst) first = next
  }
  return first
}

function slotsWithinHorizon(ledgers: ReadonlyMap<string, Ledger>, now: number): number {
  let slots = 1
  for (const ledger of ledgers.values()) {
    const until = now + horizonMs(ledger)
    const from = Math.max(now, ledger.nextFreeAt)
    if (from <= until) slots += Math.ceil((until - from) / spacingMs(ledger))
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
  isWaitingForCap: boolean
}): Pick<TickState, 'dueAt' | 'hasRoom'> {
  const { now, flows, lines, grants, nextSlotAt, ledgers, isCutShort, isWaitingForCap } = tick
  const horizon = Math.max(...[...ledgers.values()].map(horizonMs))
  const hasRoom = nextSlotAt !== undefined && nextSlotAt <= now + horizon
  if (flows.length === 0) return { dueAt: null, hasRoom }
  if (hasRoom && (grants.length > 0 || isCutShort)) return { dueAt: now + timing.settleTickMs, hasRoom }
  const soon = now + timing.tickMs
  if (grants.length > 0 || isWaitingForCap) return { dueAt: soon, hasRoom }
  const dueTimes = [...lines.values()].flatMap(({ nextDueAt }) => nextDueAt ?? [])
  // Without a slot within the horizon nobody has looked at the lines: the next look is when there is one.
  const next = hasRoom ? Math.min(...dueTimes) : (nextSlotAt ?? Infinity)
  return { dueAt: Math.min(now + timing.idleTickMs, Math.max(soon, next - horizon)), hasRoom }
}

async function carryOut(room: Darkroom, plan: Plan): Promise<void> {
  const { pool, epoch, dueAt } = plan.nextTick
  ticksSeen(room, pool).expectedUntil = trustedUntil(plan.nextTick, room.clock.now())
  // A fault in one batch keeps neither the others nor the next tick.
  const faults: unknown[] = []
  const moved = await Promise.allSettled(
    [...Map.groupBy(plan.grants, ({ batch }) => batch)].map(async ([batch, grants]) => {
      const given = await room.jobs.slot({ grants, capMicroUsd: plan.caps.get(batch) ?? null })
      if (given.isCapReached) await haltAtCap(room, { pool, batch })
      return given.granted
    }),
  )
  for (const result of moved) if (result.status === 'rejected') faults.push(result.reason)
  const granted = moved
    .flatMap((result) => (result.status === 'fulfilled' ? result.value : []))
    .sort((a, b) => a.slotAt - b.slotAt)
  if (granted.length < plan.grants.length) {
    room.log.info('slots wasted: their jobs were not moved', { slots: plan.grants.length - granted.length })
  }
  const sent = await sendInOrder(granted, async ({ batch, key, slotAt, quota, deployment }) => {
    const wakeAt = Math.max(room.clock.now(), slotAt - (plan.leads.get(quota) ?? timing.leadMs))
    await room.messages.sendWork({ pool, quota, deployment, batch, key, slotAt, wakeAt }, wakeAt)
  })
  faults.push(...sent)
  if (dueAt !== null) await room.messages.sendTick({ pool, epoch }, dueAt)
  const tidied = await Promise.allSettled([
    ...plan.swept.map(async (batch) =>
      room.jobs.cancelQueued({ batch, limit: limits.slotsPerTickMax, now: room.clock.now() }),
    ),
    ...plan.finished.map(async (finished) => removeFlow(room, pool, finished)),
  ])
  for (const result of tidied) if (result.status === 'rejected') faults.push(result.reason)
  if (faults.length > 0) throw new AggregateError(faults, 'a tick could not carry out all it had decided')
}

/** What was decided for a batch outlives its flow. */
async function removeFlow(room: Darkroom, pool: string, { flow, batch }: Finished): Promise<void> {
  const terms = termsOf(flow.value)
  if (batch !== undefined && JSON.stringify(batch.terms) !== JSON.stringify(terms)) {
    await room.jobs.saveTerms(batch.batch, terms)
  }
  await room.budgets.removeFlow({ pool, before: flow })
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
