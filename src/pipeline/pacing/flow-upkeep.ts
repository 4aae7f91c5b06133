import { committedMicroUsd, jobCounts } from '../../core/jobs/counters.ts'
import { isAtCap, isHalted, termsOf, type Flow } from '../../core/budget/fairness.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { Batch } from '../../ports/batches.ts'
import type { Pool, Versioned } from '../../ports/budget.ts'
import type { Context } from '../context.ts'
import { lookAt, type Line } from './waiting-lines.ts'

/** What a tick looks after beside giving slots: flows that are empty, halted, at their cap, or finished. */

/** The lines of flows that were empty when they were last looked at, without those that rest. */
export async function lookAtIdle(
  context: Context,
  { flows, limit, now }: { flows: readonly Flow[]; limit: number; now: number },
): Promise<Map<string, Line>> {
  const idle = flows
    .filter((flow) => flow.idleSince !== null && !isResting(flow, now))
    .sort((a, b) => (a.idleSince ?? 0) - (b.idleSince ?? 0))
    .slice(0, limits.linesPerTickMax)
  const looked = await Promise.all(
    idle.map(async (flow): Promise<[string, Line]> => [
      flow.batch,
      await lookAt(context, { batch: flow.batch, limit, until: now }),
    ]),
  )
  return new Map(looked)
}

/** Found empty, and not woken since: nobody looks at it until it has rested. */
function isResting({ idleSince }: Flow, now: number): boolean {
  return idleSince !== null && now - idleSince >= timing.flowLookMs && now - idleSince < timing.flowIdleMs
}

export function hasRested({ idleSince }: Flow, now: number): boolean {
  return idleSince !== null && now - idleSince >= timing.flowIdleMs
}

export function idleSinceOf(flow: Flow, line: Line | undefined, now: number): number | null {
  if (line === undefined) return flow.idleSince
  if (!line.isEmpty) return null
  // Empty still, while its batch has jobs running: it rests once more.
  return flow.idleSince === null || hasRested(flow, now) ? now : flow.idleSince
}

/** Batches that stand at their cap: each call under way that costs less than it might leaves room. */
export async function lookAtCaps(
  context: Context,
  pool: Pool,
): Promise<{ readonly freed: ReadonlySet<string>; readonly isUnderWay: boolean }> {
  const all = pool.flows.map(({ value }) => value).filter(isAtCap)
  // Where it begins changes, so that with more of them than a tick looks at each has its turn.
  const first = Math.floor(context.chance() * all.length)
  const atCap = [...all.slice(first), ...all.slice(0, first)].slice(0, limits.capsPerTickMax)
  const looked = await Promise.all(
    atCap.map(async ({ batch, capMicroUsd }) => {
      const [stored, [waiting]] = await Promise.all([
        context.batches.getBatch(batch),
        context.jobs.firstWaiting({ batch, limit: 1 }),
      ])
      if (stored === undefined || waiting === undefined) return { batch, isFreed: false, isUnderWay: false }
      const { counters } = stored
      const isFreed =
        capMicroUsd === null || committedMicroUsd(counters) + waiting.upperMicroUsd <= capMicroUsd
      return { batch, isFreed, isUnderWay: counters.reservedMicroUsd > 0 }
    }),
  )
  return {
    freed: new Set(looked.flatMap(({ batch, isFreed }) => (isFreed ? [batch] : []))),
    isUnderWay: atCap.length < all.length || looked.some(({ isUnderWay }) => isUnderWay),
  }
}

/** What waits in a cancelled batch is swept; a paused one is looked at now and then, in case nothing waits any more. */
export async function lookAtHalted(
  context: Context,
  flows: readonly Flow[],
): Promise<{ readonly empty: readonly string[]; readonly swept: readonly string[] }> {
  const awake = flows.filter((flow) => isHalted(flow) && flow.idleSince === null)
  const cancelled = awake
    .filter(({ decision }) => decision?.kind === 'cancelled')
    .slice(0, limits.sweepsPerTickMax)
  const paused = awake.filter(({ decision }) => decision?.kind === 'paused')
  const anyPaused = paused.at(Math.floor(context.chance() * paused.length))
  const looked = await Promise.all(
    [...cancelled, ...(anyPaused === undefined ? [] : [anyPaused])].map(async ({ batch }) => {
      const waiting = await context.jobs.firstWaiting({ batch, limit: 1 })
      return { batch, isEmpty: waiting.length === 0 }
    }),
  )
  const empty = looked.flatMap(({ batch, isEmpty }) => (isEmpty ? [batch] : []))
  return { empty, swept: cancelled.flatMap(({ batch }) => (empty.includes(batch) ? [] : [batch])) }
}

/** How long the estimates of others may rely on a count. */
const backlogKnownMs = 30_000

/** Counts what waits in one of several flows: what each may expect depends on how long the others go on. */
export async function countBacklog(
  context: Context,
  flows: readonly Flow[],
  now: number,
): Promise<{ readonly batch: string; readonly waiting: number } | undefined> {
  if (flows.length < 2) return undefined
  const oldest = flows.reduce((first, flow) =>
    (flow.backlog?.at ?? 0) < (first.backlog?.at ?? 0) ? flow : first,
  )
  if (oldest.backlog !== null && now - oldest.backlog.at < backlogKnownMs) return undefined
  const stored = await context.batches.getBatch(oldest.batch)
  return { batch: oldest.batch, waiting: stored === undefined ? 0 : jobCounts(stored.counters).waiting }
}

export type Finished = { readonly flow: Versioned<Flow>; readonly batch: Batch | undefined }

/**
 * A flow stays while a job of its batch is unfinished, or its results are unwritten: it is how a rescue finds the batch.
 * `unfinalised`: those whose end somebody should have seen.
 */
export async function finishedAmong(
  context: Context,
  flows: readonly Versioned<Flow>[],
): Promise<{ readonly finished: readonly Finished[]; readonly unfinalised: readonly string[] }> {
  const unfinalised: string[] = []
  const looked = await Promise.all(
    flows.map(async (flow): Promise<Finished[]> => {
      const stored = await context.batches.getBatch(flow.value.batch)
      if (stored === undefined) return [{ flow, batch: undefined }]
      const { waiting, running } = jobCounts(stored.counters)
      if (waiting + running > 0) return []
      const { progress } = stored.batch
      const isOver = progress === null || progress.kind === 'finished' || progress.kind === 'failed'
      if (isOver) return [{ flow, batch: stored.batch }]
      if (progress.kind !== 'registering') unfinalised.push(flow.value.batch)
      return []
    }),
  )
  return { finished: looked.flat(), unfinalised }
}

/** What was decided for a batch outlives its flow. */
export async function removeFlow(context: Context, pool: string, { flow, batch }: Finished): Promise<void> {
  const terms = termsOf(flow.value)
  if (batch !== undefined && JSON.stringify(batch.terms) !== JSON.stringify(terms)) {
    await context.batches.saveTerms(batch.batch, terms)
  }
  await context.budgets.removeFlow({ pool, before: flow })
}
