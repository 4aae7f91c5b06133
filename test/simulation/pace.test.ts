import { describe, expect, test } from 'vitest'
import { chanceFrom } from '../../src/local/deployment/chance.ts'
import { batchOf, fairWeather } from './scenarios.ts'
import { simulate, type Run, type Scenario } from './world.ts'

/** host.json lets an instance run 96 jobs at once; at 600 RPM some 600 are held or running when messages come late. */
describe.each([
  { rpm: 60, instances: 1, jobs: 600, atOnce: 96 },
  { rpm: 60, instances: 4, jobs: 600, atOnce: 96 },
  { rpm: 600, instances: 1, jobs: 3_000, atOnce: 800 },
  { rpm: 600, instances: 4, jobs: 3_000, atOnce: 200 },
])('$jobs jobs at $rpm RPM on $instances instance(s)', ({ rpm, instances, jobs, atOnce }) => {
  test('use at least 97 % of the budget and meet no 429', async () => {
    const submissions = batchOf('big', jobs)
    const run = await simulate(fairWeather('punctual', { rpm, instances, submissions, atOnce }))
    expect(utilisation(run, rpm)).toBeGreaterThanOrEqual(0.97)
    assertAllWentWell(run, jobs)
  })

  test('do so when every message comes up to 5 s late', async () => {
    const run = await simulate(lateScenario({ rpm, instances, jobs, atOnce }, (chance) => chance() * 5_000))
    expect(utilisation(run, rpm)).toBeGreaterThanOrEqual(0.97)
    assertAllWentWell(run, jobs)
  })

  test('use at least 95 % when one message in ten comes up to 30 s late', async () => {
    const delay = (chance: () => number): number => (chance() < 0.1 ? chance() * 30_000 : chance() * 1_000)
    const run = await simulate(lateScenario({ rpm, instances, jobs, atOnce }, delay))
    expect(utilisation(run, rpm)).toBeGreaterThanOrEqual(0.95)
    assertAllWentWell(run, jobs)
  })
})

function lateScenario(
  { rpm, instances, jobs, atOnce }: Pick<Scenario, 'rpm' | 'instances' | 'atOnce'> & { jobs: number },
  wakeDelayMs: (chance: () => number) => number,
): Scenario {
  const chance = chanceFrom('late', rpm, instances)
  return fairWeather('late', {
    rpm,
    instances,
    submissions: batchOf('big', jobs),
    atOnce,
    wakeDelayMs: () => wakeDelayMs(chance),
  })
}

/** Starts a minute, from the first to the last, as a share of the limit. */
function utilisation({ calls }: Run, rpm: number): number {
  const starts = calls.map(({ startedAt }) => startedAt).sort((a, b) => a - b)
  const minutes = (starts.at(-1)! - starts[0]!) / 60_000
  const used = (starts.length - 1) / minutes / rpm
  if (process.env['SHOW'] !== undefined) console.log(`${rpm} RPM: ${(100 * used).toFixed(2)} %`)
  return used
}

/** Each job was called once and has its images; nothing was labelled, because nothing was repeated. */
function assertAllWentWell({ calls, jobs }: Run, count: number): void {
  expect(calls.filter(({ outcome }) => outcome !== 'images')).toEqual([])
  expect(calls.length).toBe(count)
  expect(jobs.filter(({ phase }) => phase.kind !== 'succeeded')).toEqual([])
  expect(jobs.filter(({ possiblyRepeated, attempts }) => possiblyRepeated > 0 || attempts !== 1)).toEqual([])
}
