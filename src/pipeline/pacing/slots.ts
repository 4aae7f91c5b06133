import { horizonMs, spacingMs, takeSlot, type Ledger, type Slot } from '../../core/budget/ledger.ts'
import type { Flow, Turns } from '../../core/budget/fairness.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { SlotGrant, WaitingJob } from '../../ports/jobs.ts'
import type { Context } from '../context.ts'
import { lookAt, takeDue, withoutJobs, type Line } from './waiting-lines.ts'

/** A tick's look ahead. */
type Look = {
  readonly ledgers: ReadonlyMap<string, Ledger>
  readonly now: number
  /** Functions were found asleep: it goes further. */
  readonly isCold: boolean
}

type Round = Look & {
  readonly ledgers: Map<string, Ledger>
  readonly turns: Turns
  readonly lines: Map<string, Line>
}

/**
 * Slots in order of time, over all deployments, each to the flow whose turn it is. Changes the ledgers, the turns and the
 * lines of the round.
 */
export async function giveSlots(
  context: Context,
  flows: readonly Flow[],
  round: Round,
): Promise<{ grants: SlotGrant[]; nextSlotAt: number | undefined; isCutShort: boolean }> {
  const { ledgers, turns, lines } = round
  const grants: SlotGrant[] = []
  const flowsMax = Math.min(limits.flowsPerTickMax, limits.transactionEntitiesMax - 1 - ledgers.size)
  const linesMax = lines.size + limits.linesPerTickMax
  await lookAhead(context, flows.slice(0, flowsMax), round)
  const served = new Set<string>()
  let isCutShort = false
  let slot = earliestSlot(round)
  while (slot !== undefined && slot.isWithinHorizon && grants.length < limits.slotsPerTickMax) {
    const flow = turns.next()
    if (flow === undefined) break
    const { batch } = flow
    if (!served.has(batch) && (served.size >= flowsMax || lines.size >= linesMax)) {
      // Its tag stays where it is, so it is among the first of the next tick, which is not far.
      isCutShort = true
      turns.leave()
      continue
    }
    const job = await nextOf(context, batch, { slotAt: slot.slotAt, grants, round })
    if (job === undefined) {
      turns.leave()
      continue
    }
    served.add(batch)
    const { quota } = slot.ledger
    grants.push({ ...job, slotAt: slot.slotAt, quota, deployment: slot.deployment })
    ledgers.set(quota, slot.ledger)
    turns.serve(job.priority)
    slot = earliestSlot(round)
  }
  return { grants, nextSlotAt: slot?.slotAt, isCutShort }
}

/** The flows that are first in line are looked at together, each for its part of the slots and some more. */
async function lookAhead(context: Context, flows: readonly Flow[], round: Round): Promise<void> {
  const { ledgers, lines, now, isCold } = round
  const slots = slotsWithinHorizon(round)
  const first = flows.filter(({ batch }) => !lines.has(batch)).slice(0, slots)
  const limit = Math.min(slots, Math.ceil((2 * slots) / Math.max(1, first.length)) + linesSpare)
  const until = now + Math.max(...[...ledgers.values()].map((ledger) => horizonMs(ledger, isCold)))
  const looked = await Promise.all(
    first.map(async ({ batch }): Promise<[string, Line]> => [
      batch,
      await lookAt(context, { batch, limit, until }),
    ]),
  )
  for (const [batch, line] of looked) lines.set(batch, line)
}

/** Jobs read of a line beyond twice its equal part: retries that are not due stand among them. */
const linesSpare = 4

/** The flow's next job that is due by the slot; what was read of its line may have run out. */
async function nextOf(
  context: Context,
  batch: string,
  { slotAt, grants, round }: { slotAt: number; grants: readonly SlotGrant[]; round: Round },
): Promise<WaitingJob | undefined> {
  const { lines } = round
  const known = lines.get(batch)
  const job = known && takeDue(known, slotAt)
  if (job !== undefined || known?.isWhole === true) return job
  const granted = new Set(grants.filter((grant) => grant.batch === batch).map(({ key }) => key))
  const limit = granted.size + slotsWithinHorizon(round)
  const line = {
    ...withoutJobs(await lookAt(context, { batch, limit, until: slotAt }), granted),
    isWhole: true,
  }
  // As many as there are slots: more of it is not needed in this tick.
  lines.set(batch, line)
  return takeDue(line, slotAt)
}

/**
 * The earliest next slot over the pool's quotas, those within their own horizon first: they differ in how long before a
 * slot its message must be sent. The ledger in it is the one after taking it.
 */
function earliestSlot({
  ledgers,
  now,
  isCold,
}: Look): (Slot & { readonly isWithinHorizon: boolean }) | undefined {
  let first: (Slot & { readonly isWithinHorizon: boolean }) | undefined
  for (const ledger of ledgers.values()) {
    const taken = takeSlot(ledger, now + timing.firstSlotMs)
    const next = { ...taken, isWithinHorizon: taken.slotAt <= now + horizonMs(ledger, isCold) }
    const isFirst =
      first === undefined ||
      (next.isWithinHorizon === first.isWithinHorizon ? next.slotAt < first.slotAt : next.isWithinHorizon)
    if (isFirst) first = next
  }
  return first
}

export function slotsWithinHorizon({ ledgers, now, isCold }: Look): number {
  let slots = 1
  for (const ledger of ledgers.values()) {
    const until = now + horizonMs(ledger, isCold)
    const from = Math.max(now, ledger.nextFreeAt)
    if (from <= until) slots += Math.ceil((until - from) / spacingMs(ledger))
  }
  return Math.min(slots, limits.slotsPerTickMax)
}
