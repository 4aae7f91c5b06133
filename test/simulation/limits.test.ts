import { expect, test } from 'vitest'
import type { ModelFaults } from './deployment.ts'
import { batchOf, fairWeather, noModelFaults } from './scenarios.ts'
import { simulate, startAt, type Run } from './world.ts'

/**
 * The whole pipeline against a deployment that bears less than the settings say. The study in `limits/` covers many more
 * cases; here it is seen that what was learned there is what the pipeline does.
 */
const minute = 60_000
const at = (minutes: number): number => startAt + minutes * minute

const cases: readonly {
  readonly what: string
  readonly rpm: number
  readonly faults: Partial<ModelFaults>
  /** From five minutes after a change on, so many a minute are to be had. */
  readonly available: readonly { readonly from: number; readonly until: number; readonly rpm: number }[]
}[] = [
  {
    what: 'a quota that is cut to a half',
    rpm: 60,
    faults: { quota: [{ from: at(5), rpm: 30 }] },
    available: [{ from: at(10), until: at(60), rpm: 30 }],
  },
  {
    what: 'another client that draws a fifth of the quota, then a half',
    rpm: 60,
    faults: {
      neighbours: [
        { from: at(2), until: at(22), rpm: 12 },
        { from: at(22), until: at(60), rpm: 30 },
      ],
    },
    available: [
      { from: at(7), until: at(22), rpm: 48 },
      { from: at(27), until: at(60), rpm: 30 },
    ],
  },
  {
    what: 'a deployment that counts 9 a minute as one per 10 s',
    rpm: 9,
    faults: { quota: [{ from: at(0), rpm: 6 }] },
    available: [{ from: at(5), until: at(60), rpm: 6 }],
  },
]

test.each(cases)('$what', async ({ rpm, faults, available }) => {
  const run = await simulate(
    fairWeather('limits', {
      rpm,
      instances: 2,
      attemptsMax: 1,
      submissions: batchOf(
        'big',
        Math.max(...available.map(({ until }) => ((until - startAt) / minute) * rpm)),
      ),
      modelFaults: { ...noModelFaults, ...faults },
      endsAfterMs: Math.max(...available.map(({ until }) => until)) - startAt,
    }),
  )
  for (const { from, until, rpm: allowed } of available) {
    const used = accepted(run).filter((start) => start >= from && start < until).length
    const share = used / (((until - from) / minute) * allowed)
    expect(share, `share of ${allowed} a minute that is used`).toBeGreaterThanOrEqual(0.92)
  }
  const refused = run.calls.length - accepted(run).length
  expect(refused / run.calls.length, `${refused} refused of ${run.calls.length}`).toBeLessThan(0.01)
  expect(run.jobs.filter(({ phase }) => phase.kind === 'failed')).toEqual([])
})

function accepted({ calls }: Run): readonly number[] {
  return calls.filter(({ outcome }) => outcome === 'images').map(({ startedAt }) => startedAt)
}
