import { Cron } from 'croner'
import { beforeAll, expect, test } from 'vitest'
import { createFunctionApp } from '../../src/local/host/core-api.ts'
import { supplyCoreModule } from '../../src/local/host/entry.ts'

const app = createFunctionApp(() => {})

beforeAll(async () => {
  const release = supplyCoreModule(app.coreApi)
  await import('../../src/functions/index.ts')
  release()
})

/** How often each timer fires in an hour; 61 stands for more than once a minute. */
function firesAnHour(): ReadonlyMap<string, number> {
  const from = new Date('2026-01-05T12:00:00Z')
  const until = from.getTime() + 3_600_000
  return new Map(
    [...app.functions.values()].flatMap(({ name, trigger }) => {
      if (trigger.kind !== 'timer') return []
      const times = new Cron(trigger.schedule, { mode: '6-part', timezone: 'UTC' }).nextRuns(61, from)
      return [[name, times.filter((time) => time.getTime() <= until).length] as const]
    }),
  )
}

/**
 * On Flex Consumption each timer is a function on instances of its own, which are billed for a second at least each time:
 * what must be looked at each minute shares one. What need not be is looked at once an hour.
 */
test('one timer fires each minute, and none more often', () => {
  const often = [...firesAnHour()].filter(([, fires]) => fires > 1)
  expect(often).toEqual([['rescue', 60]])
})

test('every other timer fires once an hour at most', () => {
  const others = [...firesAnHour()].filter(([name]) => name !== 'rescue')
  expect(others.length).toBeGreaterThan(0)
  expect(others.filter(([, fires]) => fires > 1)).toEqual([])
})
