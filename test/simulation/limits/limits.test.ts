import { describe, expect, test } from 'vitest'
import { cases } from './cases.ts'
import { constant, cubic, openContext, linear } from './controllers.ts'
import { study, type Report } from './world.ts'

function runOf(name: string, rpm: number, seed = ''): Report {
  const truth = cases.find((each) => each.name === name)?.truth(rpm)
  if (truth === undefined) throw new Error(`no case is called ${name}`)
  return study(truth, openContext({ rpm, pace: truth.pace, topPace: 0.995 }), { seed })
}

function usedOf({ settled }: Report): number {
  return settled.accepted / settled.available
}

/** From five minutes after each change on, this share of what the deployment bears is used. */
function assertUses(report: Report, share: number): void {
  expect(usedOf(report)).toBeGreaterThanOrEqual(share)
}

function assertRefusedBelow({ refused, starts }: Report, share: number): void {
  expect(refused / starts).toBeLessThan(share)
}

/** Beside a client that starts at random no rate serves: see the best even rates in the table. */
const knowable = cases.map(({ name }) => name).filter((name) => !name.includes('random'))

describe.each([60, 600])('at %i RPM', (rpm) => {
  test.each(knowable)('%s: at least 92 % are used, and less than 1 % refused', (name) => {
    const report = runOf(name, rpm)
    assertUses(report, 0.92)
    assertRefusedBelow(report, 0.01)
  })
})

describe('at 9 RPM, where one refusal is a fifth of what an hour allows', () => {
  test.each(knowable.filter((name) => !name.includes('another client')))(
    '%s: at least 90 % are used',
    (name) => {
      const report = runOf(name, 9)
      assertUses(report, 0.9)
      assertRefusedBelow(report, 0.035)
    },
  )

  test.each(knowable.filter((name) => name.includes('another client')))('%s: at least 70 %', (name) => {
    assertUses(runOf(name, 9), 0.7)
  })
})

describe('beside a client that starts at random', () => {
  test.each([
    { rpm: 60, used: 0.55, refused: 0.04 },
    { rpm: 600, used: 0.72, refused: 0.01 },
  ])('at $rpm RPM at least $used are used, and less than $refused refused', ({ rpm, used, refused }) => {
    for (const seed of ['1', '2', '3']) {
      const report = runOf('b  another client, random', rpm, seed)
      assertUses(report, used)
      assertRefusedBelow(report, refused)
      expect(report.opinions.some((text) => text.endsWith('another client'))).toBe(true)
    }
  })
})

test.each([
  ['a  cut to a half', 60, 'quota lowered or shared'],
  ['b  another client, even', 60, 'quota lowered or shared'],
  ['c  windows rounded down', 9, 'counts per 10 s'],
  ['c  windows rounded down', 15, 'counts per 10 s'],
  ['d  header says double, and so it is', 60, 'headers'],
  ['d  header says double, and lies', 60, 'headers'],
  ['e  high demand for 3 and 6 minutes', 60, 'capacity'],
  ['f  retry after a day, for 20 minutes', 60, 'parked'],
  ['g  nothing wrong', 60, 'rising'],
  ['g  nothing wrong, starts up to 80 ms late', 60, 'at the refused level'],
] as const)('%s at %i RPM is taken for: %s', (name, rpm, kind) => {
  expect(runOf(name, rpm).opinions.map((text) => text.replace(/^\S+ /, ''))).toContain(kind)
})

test('waits of a day cost a request now and then, and the old rate is back at once', () => {
  const report = runOf('f  retry after a day, for 20 minutes', 60)
  expect(report.otherRefused).toBeLessThanOrEqual(6)
  expect(report.phases.at(-1)!.accepted / report.phases.at(-1)!.available).toBeGreaterThan(0.98)
  // At any rate: the first event takes what was under way, each probe after it one request.
  expect(runOf('f  retry after a day, for 20 minutes', 600).otherRefused).toBeLessThanOrEqual(20)
})

test('high demand that meets one request in fifty at random costs no more than those', () => {
  assertUses(runOf('e  high demand, 1 in 50', 600), 0.95)
})

test('the study can tell: what was tried before falls short where the level does not', () => {
  const truth = cases.find(({ name }) => name === 'a  cut to a half')!.truth(60)
  const limits = { rpm: 60, pace: 0.98, topPace: 0.995 }
  expect(usedOf(study(truth, linear(limits)))).toBeLessThan(0.8)
  const busy = cases.find(({ name }) => name === 'e  high demand, 1 in 50')!.truth(600)
  expect(usedOf(study(busy, cubic({ rpm: 600, pace: 0.98, topPace: 0.995 })))).toBeLessThan(0.6)
  const reckless = study(truth, constant(59))
  expect(reckless.refused / reckless.starts).toBeGreaterThan(0.03)
})
