import { isInService, spacingMs, type Ledger } from './ledger.ts'
import type { Counters, JobCounts } from '../jobs/counters.ts'
import { isHalted, weightOf, type Flow } from './fairness.ts'
import { type Priority } from '../requests/submission.ts'
import { timing } from '../timing.ts'

/** What a pool is about to do: when its next free slot is, how fast it goes, and who else waits for it. */
export type Outlook = {
  readonly nextStartAt: number
  readonly startsPerMs: number
  readonly others: readonly Waiting[]
}

/** Jobs that wait in one flow, and its weight; Infinity where nobody has counted them yet. */
type Waiting = { readonly weight: number; readonly jobs: number }

/** A call's length before any was seen. Source: Azure's documentation, 10 to 30 s as a rule. */
export const callMsUnseen = 20_000
/** A deployment that is paused for longer does not count: its share of the work goes to the others. */
const pauseIgnoredMs = 60_000

/** Undefined when nothing will start until a person acts: every deployment is stopped. */
export function outlook(
  pool: { readonly ledgers: readonly Ledger[]; readonly flows: readonly Flow[] },
  batch: string,
  now: number,
): Outlook | undefined {
  const inService = pool.ledgers.filter(isInService)
  const soon = inService.filter(({ pausedUntil }) => pausedUntil <= now + pauseIgnoredMs)
  const ledgers = soon.length > 0 ? soon : inService
  if (ledgers.length === 0) return undefined
  const startsPerMs = ledgers.reduce((rate, ledger) => rate + 1 / spacingMs(ledger), 0)
  const freeAt = ledgers.map((ledger) =>
    Math.max(now + timing.firstSlotMs, ledger.nextFreeAt, ledger.pausedUntil),
  )
  const awake = pool.flows.filter((flow) => flow.idleSince === null && !isHalted(flow))
  const weights = awake.reduce((total, flow) => total + weightOf(flow), 0)
  const others = awake
    .filter((flow) => flow.batch !== batch)
    .map((flow): Waiting => {
      const weight = weightOf(flow)
      if (flow.backlog === null) return { weight, jobs: Infinity }
      const { waiting, at } = flow.backlog
      return { weight, jobs: Math.max(0, waiting - ((now - at) * startsPerMs * weight) / weights) }
    })
  return { nextStartAt: Math.min(...freeAt), startsPerMs, others }
}

/**
 * When so many slots have come to the flow. Each flow is served in proportion to its weight for as long as it lasts: by
 * the time that this one has got its jobs, every other has got as much a unit of weight, or all it had.
 */
function servedAt({ nextStartAt, startsPerMs, others }: Outlook, own: Waiting): number {
  const perWeight = own.jobs / own.weight
  const served = others.reduce(
    (total, { weight, jobs }) => total + Math.min(jobs, perWeight * weight),
    own.jobs,
  )
  return nextStartAt + served / startsPerMs
}

/** When the job with so many of its batch before it starts. */
export function estimateStartAt(
  expected: Outlook,
  job: { readonly flow: Flow; readonly priority: Priority | null; readonly before: number },
): number {
  return servedAt(expected, { weight: weightOf(job.flow, job.priority), jobs: job.before })
}

/** When the batch's last call ends. */
export function estimateFinishAt(
  expected: Outlook,
  batch: { readonly flow: Flow; readonly counts: JobCounts; readonly counters: Counters },
  now: number,
): number {
  const { flow, counts } = batch
  const callMs = meanCallMs(batch)
  if (counts.waiting === 0) return now + callMs
  const weight = weightOf(flow)
  const weights = expected.others.reduce((total, other) => total + other.weight, weight)
  // Jobs that have their slot start before the ledger's next free slot.
  const slotsGiven = Math.max(0, expected.nextStartAt - now) * expected.startsPerMs
  const slotted = Math.min(counts.waiting, Math.floor((slotsGiven * weight) / weights))
  return servedAt(expected, { weight, jobs: Math.max(0, counts.waiting - slotted - 1) }) + callMs
}

export function meanCallMs({
  counts,
  counters,
}: {
  readonly counts: JobCounts
  readonly counters: Counters
}): number {
  return counts.succeeded > 0 ? counters.callMs / counts.succeeded : callMsUnseen
}
