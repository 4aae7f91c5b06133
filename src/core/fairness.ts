/**
 * A batch as the pacer sees it. Start-time fair queueing: every slot goes to the flow with the lowest tag, whose tag
 * then moves on by 1 / weight; a flow that comes back from idleness starts at the pool's virtual time, so it neither
 * loses its share nor has saved one up. Source: Goyal, Vin, Cheng, "Start-time fair queuing", 1996.
 */
export type Flow = {
  readonly batch: string
  readonly weight: number
  readonly tag: number
  /** Since when the pacer has found nothing waiting; null while something waits or may. */
  readonly idleSince: number | null
}

export type Turns = {
  /** The flow whose turn it is, and undefined when nobody is left. */
  next(): Flow | undefined
  /** Charges the flow for one slot. */
  serve(flow: Flow): void
  /** Takes the flow out of the round: it has nothing that could use a slot. */
  leave(flow: Flow): void
  /** Every flow with its tag after the round, and the pool's virtual time. */
  result(): { readonly flows: ReadonlyMap<string, Flow>; readonly virtualTime: number }
}

export function newFlow(batch: string): Flow {
  return { batch, weight: 1, tag: 0, idleSince: null }
}

/** One round of turns over the flows of a pool. */
export function turns(flows: readonly Flow[], virtualTime: number): Turns {
  const all = new Map(flows.map((flow) => [flow.batch, flow]))
  const inRound = new Set(all.keys())
  let now = virtualTime
  const startTag = (flow: Flow): number => Math.max(flow.tag, now)
  return {
    next() {
      let first: Flow | undefined
      for (const batch of inRound) {
        const flow = all.get(batch)
        if (flow !== undefined && (first === undefined || startTag(flow) < startTag(first))) first = flow
      }
      return first
    },
    serve(flow) {
      const start = startTag(flow)
      now = start
      all.set(flow.batch, { ...flow, tag: start + 1 / flow.weight })
    },
    leave(flow) {
      inRound.delete(flow.batch)
    },
    result: () => ({ flows: all, virtualTime: now }),
  }
}
