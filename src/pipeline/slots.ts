import { horizonMs, spacingMs, takeSlot, type Ledger, type Slot } from '../core/budget.ts'
import type { Turns } from '../core/fairness.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { SlotGrant } from '../ports.ts'
import type { Darkroom } from './darkroom.ts'
import { lookAt, takeDue, type Line } from './waiting-lines.ts'

/**
 * Slots in order of time, over all deployments, each to the flow whose turn it is. Changes `ledgers`, `round` and
 * `lines`.
 */
export async function giveSlots(
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

export function slotsWithinHorizon(ledgers: ReadonlyMap<string, Ledger>, now: number): number {
  let slots = 1
  for (const ledger of ledgers.values()) {
    const until = now + horizonMs(ledger)
    const from = Math.max(now, ledger.nextFreeAt)
    if (from <= until) slots += Math.ceil((until - from) / spacingMs(ledger))
  }
  return Math.min(slots, limits.slotsPerTickMax)
}
