import { describe, expect, test } from 'vitest'
import { newFlow, turns, type Flow } from '../../src/core/fairness.ts'

/** A pool between rounds, as the budget table keeps it. */
type Round = { readonly flows: readonly Flow[]; readonly virtualTime: number }

describe('turns', () => {
  test('equal flows get equal shares, whatever the size of a round', () => {
    const flows = Array.from({ length: 7 }, (_, i) => newFlow(`b${i}`))
    for (const slotsPerRound of [1, 3, 50]) {
      const { served } = play(
        { flows, virtualTime: 0 },
        { rounds: Math.ceil(2_000 / slotsPerRound), slotsPerRound },
      )
      expect(jainIndex(flows.map(({ batch }) => countOf(served, batch)))).toBeGreaterThanOrEqual(0.999)
    }
  })

  test('weights 1, 4 and 16 get shares of 1, 4 and 16', () => {
    const flows = [1, 4, 16].map((weight) => ({ ...newFlow(`w${weight}`), weight }))
    const { served } = play({ flows, virtualTime: 0 }, { rounds: 300, slotsPerRound: 7 })
    const counts = flows.map(({ batch }) => countOf(served, batch))
    expect(counts.map((count, i) => Math.abs(count - [100, 400, 1_600][i]!) <= 1)).toEqual([true, true, true])
  })

  test('a flow that returns from idleness neither starves nor monopolises', () => {
    const busy = play(
      { flows: [newFlow('a'), newFlow('b')], virtualTime: 0 },
      { rounds: 100, slotsPerRound: 10 },
    )
    const returning = { flows: [...busy.flows, newFlow('c')], virtualTime: busy.virtualTime }
    const { served } = play(returning, { rounds: 30, slotsPerRound: 10 })
    expect(served.slice(0, 3)).toContain('c')
    expect(served.join('')).not.toContain('cc')
    expect(['a', 'b', 'c'].map((batch) => Math.abs(countOf(served, batch) - 100) <= 1)).toEqual([
      true,
      true,
      true,
    ])
  })

  test('a flow that was served and comes back at once has to wait for its turn', () => {
    const tags = { a: 10, b: 12 }
    const flows = Object.entries(tags).map(([batch, tag]) => ({ ...newFlow(batch), tag }))
    const { served } = play({ flows, virtualTime: 10 }, { rounds: 1, slotsPerRound: 4 })
    expect(served).toEqual(['a', 'a', 'a', 'b'])
  })

  test('a small flow behind a big one is served at once', () => {
    const big = play({ flows: [newFlow('big')], virtualTime: 0 }, { rounds: 1_000, slotsPerRound: 10 })
    const both = { flows: [...big.flows, newFlow('small')], virtualTime: big.virtualTime }
    const { served } = play(both, { rounds: 1, slotsPerRound: 10 })
    expect(countOf(served, 'small')).toBe(5)
    expect(served.slice(0, 2)).toContain('small')
  })

  test('who leaves is passed over, and nobody is left in the end', () => {
    const [a, b] = [newFlow('a'), newFlow('b')]
    const round = turns([a, b], 0)
    expect(round.next()).toBe(a)
    round.leave(a)
    expect(round.next()).toBe(b)
    round.leave(b)
    expect(round.next()).toBeUndefined()
    expect([...round.result().flows.values()]).toEqual([a, b])
  })

  test('the virtual time is the start tag of who was served last, and never goes back', () => {
    const round = turns([newFlow('a')], 5)
    expect(round.result().virtualTime).toBe(5)
    round.serve(newFlow('a'))
    expect(round.result()).toEqual({ flows: new Map([['a', { ...newFlow('a'), tag: 6 }]]), virtualTime: 5 })
  })
})

/** Rounds in which every flow always has work. */
function play(
  from: Round,
  { rounds, slotsPerRound }: { rounds: number; slotsPerRound: number },
): Round & { readonly served: readonly string[] } {
  const served: string[] = []
  let { flows, virtualTime } = from
  for (let i = 0; i < rounds; i += 1) {
    const round = turns(flows, virtualTime)
    for (let slot = 0; slot < slotsPerRound; slot += 1) {
      const flow = round.next()
      if (flow === undefined) throw new Error('nobody is left although every flow has work')
      served.push(flow.batch)
      round.serve(flow)
    }
    const result = round.result()
    flows = [...result.flows.values()]
    expect(result.virtualTime).toBeGreaterThanOrEqual(virtualTime)
    virtualTime = result.virtualTime
  }
  return { flows, virtualTime, served }
}

function countOf(served: readonly string[], batch: string): number {
  return served.filter((each) => each === batch).length
}

/** Jain's index: 1 when all shares are equal, 1 / n when one has it all. */
function jainIndex(shares: readonly number[]): number {
  const total = shares.reduce((sum, share) => sum + share, 0)
  const squares = shares.reduce((sum, share) => sum + share ** 2, 0)
  return total ** 2 / (shares.length * squares)
}
