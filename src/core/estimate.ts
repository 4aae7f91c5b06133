import { spacingMs, type Ledger } from './budget.ts'
import type { Counters, JobCounts } from './counters.ts'
import type { Flow } from './fairness.ts'
import { timing } from './timing.ts'

/** What a batch may expect of its pool: when its next jobs start, and how far apart. */
export type Outlook = { readonly nextStartAt: number; readonly intervalMs: number }

/** A call's length before any was seen. Source: Azure's documentation, 10 to 30 s as a rule. */
const callMsUnseen = 20_000

/**
 * The batch's share of its pool. Flows that are idle take no share. Undefined when nothing will start until a person
 * acts: every deployment is stopped.
 */
export function outlook(
  pool: { readonly ledgers: readonly Ledger[]; readonly flows: readonly Flow[] },
  batch: string,
  now: number,
): Outlook | undefined {
  const ledgers = pool.ledgers.filter((ledger) => ledger.breaker === null)
  if (ledgers.length === 0) return undefined
  const startsPerMs = ledgers.reduce((rate, ledger) => rate + 1 / spacingMs(ledger), 0)
  const nextStartAt = Math.min(
    ...ledgers.map((ledger) => Math.max(now + timing.firstSlotMs, ledger.nextFreeAt, ledger.pausedUntil)),
  )
  const own = pool.flows.find((flow) => flow.batch === batch)?.weight ?? 1
  const others = pool.flows.filter((flow) => flow.batch !== batch && flow.idleSince === null)
  const share = own / others.reduce((weights, flow) => weights + flow.weight, own)
  return { nextStartAt, intervalMs: 1 / (startsPerMs * share) }
}

/** When the job with so many of its batch before it starts. */
export function estimateStartAt(outlook: Outlook, before: number): number {
  return outlook.nextStartAt + before * outlook.intervalMs
}

/** When the batch's last call ends. `slotted` of the waiting have their slots already. */
export function estimateFinishAt(
  outlook: Outlook,
  batch: { readonly counts: JobCounts; readonly counters: Counters },
  now: number,
): number {
  const { counts, counters } = batch
  const callMs = counts.succeeded > 0 ? counters.callMs / counts.succeeded : callMsUnseen
  if (counts.waiting === 0) return now + callMs
  // Jobs that have their slot start within the horizon, before the ledger's next free slot.
  const slotted = Math.min(
    counts.waiting,
    Math.floor(Math.max(0, outlook.nextStartAt - now) / outlook.intervalMs),
  )
  return outlook.nextStartAt + Math.max(0, counts.waiting - slotted - 1) * outlook.intervalMs + callMs
}
