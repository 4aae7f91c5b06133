import TinyQueue from 'tinyqueue'
import type { Priority } from '../requests/submission.ts'

/** How much of the budget a job or batch gets beside the others that wait. */
export const weights: Readonly<Record<Priority, number>> = { low: 1, normal: 4, high: 16 }

/** What was decided for a batch, by its owner or by a rule: kept with its flow, and in its own row when it has none. */
export type Terms = {
  readonly priority: Priority
  /** The most that its calls may cost. */
  readonly capMicroUsd: number | null
  /** The newest decision on whether it goes on. */
  readonly decision: Decision | null
  /** Refusals before this time do not count any more: somebody has looked at them. */
  readonly refusalsFrom: number
}

/** Nothing of a paused batch starts until it is resumed; what waits in a cancelled one is cancelled. */
export type Decision = {
  readonly kind: 'paused' | 'resumed' | 'cancelled'
  readonly by: 'user' | 'cap' | 'refusals'
  readonly reason: string
  readonly at: number
}

/**
 * A batch as the pacer sees it. Start-time fair queueing: every slot goes to the flow with the lowest tag, whose tag
 * then moves on by 1 / weight; a flow that comes back from idleness starts at the pool's virtual time, so it neither
 * loses its share nor has saved one up. Source: Goyal, Vin, Cheng, "Start-time fair queuing", 1996.
 */
export type Flow = Terms & {
  readonly batch: string
  /** The API key that it belongs to. */
  readonly owner: string | null
  /** Beside the priority: from the settings, and from how many others of its owner are awake. */
  readonly share: number
  readonly tag: number
  /** Since when the pacer has found nothing waiting; null while something waits or may. */
  readonly idleSince: number | null
  /** Jobs that waited when they were last counted: for the estimates of all. */
  readonly backlog: Backlog | null
}

type Backlog = { readonly waiting: number; readonly at: number }

export const plainTerms: Terms = { priority: 'normal', capMicroUsd: null, decision: null, refusalsFrom: 0 }

export type Turns = {
  /** The flow whose turn it is, and undefined when nobody is left. */
  next(): Flow | undefined
  /** Charges the flow whose turn it is for one slot; a job's own priority stands above its batch's. */
  serve(priority: Priority | null): void
  /** Takes the flow whose turn it is out of the round: it has nothing that could use a slot. */
  leave(): void
  /** Every flow with its tag after the round, and the pool's virtual time. */
  result(): { readonly flows: ReadonlyMap<string, Flow>; readonly virtualTime: number }
}

export function newFlow(
  batch: string,
  {
    share = 1,
    owner = null,
    terms = plainTerms,
  }: { share?: number; owner?: string | null; terms?: Terms } = {},
): Flow {
  return { batch, owner, share, ...terms, tag: 0, idleSince: null, backlog: null }
}

export function termsOf({ priority, capMicroUsd, decision, refusalsFrom }: Terms): Terms {
  return { priority, capMicroUsd, decision, refusalsFrom }
}

export function isHalted({ decision }: Pick<Terms, 'decision'>): boolean {
  return decision !== null && decision.kind !== 'resumed'
}

/** A batch that stood at its cap goes on. */
export function goesOn(at: number, reason: string): Decision {
  return { kind: 'resumed', by: 'cap', reason, at }
}

/** Its cap keeps the batch from going on, until it is raised, or calls turn out cheaper than they might have been. */
export function isAtCap({ decision }: Pick<Terms, 'decision'>): boolean {
  return decision?.kind === 'paused' && decision.by === 'cap'
}

/** Shares by batch name; a name that ends in `*` stands for all that begin so. */
export type Shares = Readonly<Record<string, number>>

/** The batch's own share, else that of the longest beginning, else 1. */
export function shareOf(shares: Shares, batch: string): number {
  const [longest] = Object.entries(shares)
    .filter(([name]) => name === batch || (name.endsWith('*') && batch.startsWith(name.slice(0, -1))))
    .sort(([a], [b]) => Number(b === batch) - Number(a === batch) || b.length - a.length)
  return longest?.[1] ?? 1
}

/**
 * Each flow with its share beside the others. What a key's flows get of their priority's weight is its own weight, divided
 * among those that are awake: ten batches of one key together get no more than one batch of another. What belongs to
 * no key counts for itself.
 */
export function withShares(
  flows: readonly Flow[],
  rules: {
    readonly shareOf: (batch: string) => number
    readonly ownerWeight: (owner: string) => number
    readonly isAwake: (flow: Flow) => boolean
  },
): readonly Flow[] {
  const awake = Map.groupBy(flows.filter(rules.isAwake), ({ owner }) => owner)
  return flows.map((flow) => {
    const share = rules.shareOf(flow.batch)
    if (flow.owner === null) return { ...flow, share }
    const count = (awake.get(flow.owner) ?? []).filter(({ batch }) => batch !== flow.batch).length + 1
    return { ...flow, share: (share * rules.ownerWeight(flow.owner)) / count }
  })
}

export function weightOf(flow: Pick<Flow, 'priority' | 'share'>, own: Priority | null = null): number {
  return weights[own ?? flow.priority] * flow.share
}

/** One round of turns over the flows of a pool; each turn takes time with the logarithm of their number. */
export function turns(flows: readonly Flow[], virtualTime: number): Turns {
  const all = new Map(flows.map((flow) => [flow.batch, flow]))
  // Tags below the virtual time count as it, so the lowest tag is always first in line.
  const line = new TinyQueue([...flows], byTag)
  let now = virtualTime
  return {
    next: () => line.peek(),
    serve(priority) {
      const flow = line.pop()
      if (flow === undefined) return
      now = Math.max(flow.tag, now)
      const served = { ...flow, tag: now + 1 / weightOf(flow, priority) }
      all.set(flow.batch, served)
      line.push(served)
    },
    leave() {
      line.pop()
    },
    result: () => ({ flows: all, virtualTime: now }),
  }
}

/** In the order of their turns. */
export function byTag(a: Flow, b: Flow): number {
  return a.tag - b.tag || (a.batch < b.batch ? -1 : 1)
}
