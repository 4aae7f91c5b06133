import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Decision,
  type Flow,
  goesOn,
  isAtCap,
  isHalted,
  newFlow,
  plainTerms,
  shareOf,
  termsOf,
  turns,
  weightOf,
  withShares,
  weights,
} from '../../../src/core/budget/fairness.ts'
import { priorities } from '../../../src/core/requests/submission.ts'

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

  test('low, normal and high get shares of 1, 4 and 16', () => {
    const flows = priorities.map((priority) => ({ ...newFlow(priority), priority }))
    const { served } = play({ flows, virtualTime: 0 }, { rounds: 300, slotsPerRound: 7 })
    const counts = flows.map(({ batch }) => countOf(served, batch))
    expect(counts.map((count, i) => Math.abs(count - [100, 400, 1_600][i]!) <= 1)).toEqual([true, true, true])
  })

  test('a share from the settings stands beside the priority', () => {
    const flows = [
      { ...newFlow('a', { share: 4 }), priority: 'low' as const },
      newFlow('b'),
      newFlow('c', { share: 2 }),
    ]
    const { served } = play({ flows, virtualTime: 0 }, { rounds: 40, slotsPerRound: 10 })
    expect(flows.map(({ batch }) => Math.round(countOf(served, batch) / 10))).toEqual([10, 10, 20])
  })

  test("a job's own priority charges its batch for it, and for no other job", () => {
    const [a, b] = [newFlow('a'), newFlow('b')]
    const round = turns([a, b], 0)
    const charge = (priority: 'low' | 'normal' | 'high' | null): number => {
      while (round.next()?.batch !== 'a') round.serve(null)
      const before = round.next()?.tag ?? 0
      round.serve(priority)
      return (round.result().flows.get('a')?.tag ?? 0) - Math.max(before, round.result().virtualTime)
    }
    expect(charge('low')).toBe(1 / weights.low)
    expect(charge('high')).toBe(1 / weights.high)
    expect(charge('normal')).toBe(1 / weights.normal)
    expect(charge(null)).toBe(1 / weights.normal)
  })

  test('a batch of many does not gain by calling its jobs high for ever', () => {
    const flows = [newFlow('loud'), newFlow('quiet')]
    const { served } = play(
      { flows, virtualTime: 0 },
      { rounds: 50, slotsPerRound: 34, priorityOf: (batch) => (batch === 'loud' ? 'high' : null) },
    )
    // As if the whole batch were high: four jobs for one of the other.
    expect(countOf(served, 'loud') / countOf(served, 'quiet')).toBeCloseTo(4, 1)
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
    const { served } = play({ flows, virtualTime: 10 }, { rounds: 1, slotsPerRound: 10 })
    // Each slot of a normal flow costs a quarter, so the one with the lower tag has eight before the other.
    expect(served).toEqual(['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'b'])
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
    round.leave()
    expect(round.next()).toBe(b)
    round.leave()
    expect(round.next()).toBeUndefined()
    round.serve(null)
    round.leave()
    expect(round.result()).toEqual({ flows: new Map(Object.entries({ a, b })), virtualTime: 0 })
  })

  test('who left keeps the tag of the slots that it was given before', () => {
    const round = turns([newFlow('a'), newFlow('b')], 0)
    round.serve(null)
    round.serve(null)
    expect(round.next()?.batch).toBe('a')
    round.leave()
    const tags = [...round.result().flows.values()].map(({ batch, tag }) => [batch, tag])
    expect(tags).toEqual([
      ['a', 0.25],
      ['b', 0.25],
    ])
  })

  test('the virtual time is the start tag of who was served last, and never goes back', () => {
    const round = turns([newFlow('a')], 5)
    expect(round.result().virtualTime).toBe(5)
    round.serve(null)
    expect(round.result()).toEqual({
      flows: new Map([['a', { ...newFlow('a'), tag: 5.25 }]]),
      virtualTime: 5,
    })
  })

  test('the lowest tag goes first, of equal ones the first name, among any number of flows', () => {
    const flowsArbitrary = fc.uniqueArray(
      fc.record({ batch: fc.string({ maxLength: 3 }), tag: fc.constantFrom(0, 1, 2, 3), size: fc.nat(5) }),
      { selector: ({ batch }) => batch, maxLength: 40 },
    )
    fc.assert(
      fc.property(flowsArbitrary, (wanted) => {
        const rest = new Map(wanted.map(({ batch, size }) => [batch, size]))
        const flows = wanted.map(({ batch, tag }) => ({ ...newFlow(batch), tag }))
        const round = turns(flows, 0)
        const left = new Set(flows.map(({ batch }) => batch))
        for (let flow = round.next(); flow !== undefined; flow = round.next()) {
          const { flows: now } = round.result()
          const inLine = [...left].map((batch) => now.get(batch)!)
          const lowest = Math.min(...inLine.map(({ tag }) => tag))
          const first = inLine.filter(({ tag }) => tag === lowest).map(({ batch }) => batch)
          expect(flow.batch).toBe(first.toSorted((a, b) => (a < b ? -1 : 1))[0])
          const waiting = rest.get(flow.batch)!
          if (waiting === 0) {
            left.delete(flow.batch)
            round.leave()
          } else {
            rest.set(flow.batch, waiting - 1)
            round.serve(null)
          }
        }
        expect(left.size).toBe(0)
      }),
    )
  })
})

describe('the share of a batch', () => {
  const shares = { 'shop-1': 3, 'shop-*': 2, 'shop-1*': 5, '*': 0.5, 'shop-12': 7 }

  test.each([
    ['shop-1', 3],
    ['shop-12', 7],
    ['shop-13', 5],
    ['shop-2', 2],
    ['shop-', 2],
    ['other', 0.5],
  ])('%s is its own, else that of the longest beginning: %s', (batch, share) => {
    expect(shareOf(shares, batch)).toBe(share)
    const reversed = Object.fromEntries(Object.entries(shares).toReversed())
    expect(shareOf(reversed, batch)).toBe(share)
  })

  test('is 1 where nothing is said of it', () => {
    expect(shareOf({}, 'shop-1')).toBe(1)
    expect(shareOf({ shop: 3, 'shop-1x*': 4 }, 'shop-1')).toBe(1)
  })
})

describe('the terms of a batch', () => {
  const decisionOf = (kind: Decision['kind'], by: Decision['by'] = 'user'): Decision => ({
    kind,
    by,
    reason: 'because',
    at: 1,
  })

  test('are plain at first: normal, without a cap, and nothing decided', () => {
    expect(newFlow('a')).toEqual({
      batch: 'a',
      owner: null,
      share: 1,
      ...plainTerms,
      tag: 0,
      idleSince: null,
      backlog: null,
    })
    expect(plainTerms).toEqual({ priority: 'normal', capMicroUsd: null, decision: null, refusalsFrom: 0 })
  })

  test('outlive the flow: a new one has those that it is given', () => {
    const terms = {
      priority: 'high',
      capMicroUsd: 5,
      decision: decisionOf('paused', 'cap'),
      refusalsFrom: 7,
    } as const
    const flow = newFlow('a', { share: 3, terms })
    expect(flow).toEqual({
      batch: 'a',
      owner: null,
      share: 3,
      ...terms,
      tag: 0,
      idleSince: null,
      backlog: null,
    })
    const used = { ...flow, tag: 9, idleSince: 1 }
    expect(termsOf(used)).toEqual(terms)
  })

  test.each([
    [null, false, false],
    [decisionOf('resumed'), false, false],
    [decisionOf('resumed', 'cap'), false, false],
    [decisionOf('paused'), true, false],
    [decisionOf('paused', 'refusals'), true, false],
    [decisionOf('paused', 'cap'), true, true],
    [decisionOf('cancelled'), true, false],
  ])('after %j it is halted: %s, and at its cap: %s', (decision, halted, atCap) => {
    expect([isHalted({ decision }), isAtCap({ decision })]).toEqual([halted, atCap])
  })

  test('weigh by priority and share, and by the priority of the job where it has one', () => {
    expect(priorities.map((priority) => weightOf({ priority, share: 2 }))).toEqual([2, 8, 32])
    expect(weightOf({ priority: 'low', share: 2 }, 'high')).toBe(32)
    expect(weightOf({ priority: 'high', share: 0.5 }, null)).toBe(8)
  })
})

describe('what a key gets', () => {
  const rules = {
    shareOf: (batch: string) => (batch === 'favoured' ? 3 : 1),
    ownerWeight: (owner: string) => (owner === 'heavy' ? 2 : 1),
    isAwake: ({ idleSince }: Flow) => idleSince === null,
  }
  const flowOf = (batch: string, owner: string | null = null, idleSince: number | null = null): Flow => ({
    ...newFlow(batch, { owner }),
    idleSince,
  })
  const sharesOf = (flows: readonly Flow[]) => withShares(flows, rules).map(({ share }) => share)

  test('is divided among its batches that are awake', () => {
    const four = ['1', '2', '3', '4'].map((batch) => flowOf(batch, 'light'))
    expect(sharesOf([...four, flowOf('5', 'heavy')])).toEqual([0.25, 0.25, 0.25, 0.25, 2])
    expect(sharesOf([flowOf('1', 'heavy'), flowOf('2', 'heavy', 7), flowOf('3', 'heavy', 7)])).toEqual([
      2, 1, 1,
    ])
  })

  test('waits whole for its first batch', () => {
    expect(sharesOf([flowOf('1', 'heavy', 7)])).toEqual([2])
  })

  test('stands beside the shares of the settings', () => {
    expect(sharesOf([flowOf('favoured', 'heavy'), flowOf('2', 'heavy')])).toEqual([3, 1])
  })

  test('does not touch what belongs to none', () => {
    expect(sharesOf([flowOf('1'), flowOf('2'), flowOf('favoured')])).toEqual([1, 1, 3])
  })

  test('is the same with ten batches as with one', () => {
    const many = Array.from({ length: 10 }, (_, i) => flowOf(`many-${i}`, 'light'))
    const flows = withShares([...many, flowOf('one', 'other')], rules)
    const { served } = play({ flows, virtualTime: 0 }, { rounds: 50, slotsPerRound: 20 })
    expect(countOf(served, 'one')).toBeGreaterThanOrEqual(495)
    expect(countOf(served, 'one')).toBeLessThanOrEqual(505)
    for (const { batch } of many) expect(countOf(served, batch)).toBeGreaterThanOrEqual(48)
  })
})

/** Rounds in which every flow always has work. */
function play(
  from: Round,
  {
    rounds,
    slotsPerRound,
    priorityOf = () => null,
  }: { rounds: number; slotsPerRound: number; priorityOf?: (batch: string) => Flow['priority'] | null },
): Round & { readonly served: readonly string[] } {
  const served: string[] = []
  let { flows, virtualTime } = from
  for (let i = 0; i < rounds; i += 1) {
    const round = turns(flows, virtualTime)
    for (let slot = 0; slot < slotsPerRound; slot += 1) {
      const flow = round.next()
      if (flow === undefined) throw new Error('nobody is left although every flow has work')
      served.push(flow.batch)
      round.serve(priorityOf(flow.batch))
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

test('a batch that goes on after its cap is neither halted nor at it', () => {
  const decision = goesOn(7, 'the cap was changed')
  expect(decision).toEqual({ kind: 'resumed', by: 'cap', reason: 'the cap was changed', at: 7 })
  expect([isHalted({ decision }), isAtCap({ decision })]).toEqual([false, false])
})
