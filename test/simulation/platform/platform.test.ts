import { describe, expect, test } from 'vitest'
import { timing } from '../../../src/core/timing.ts'
import { chanceFrom } from '../../../src/local/deployment/chance.ts'
import { batchOf, fairWeather } from '../scenarios.ts'
import { simulate, startAt } from '../world.ts'
import { platform, type Drain } from './platform.ts'
import { study, type Case } from './study.ts'

/** The essence of what `table.ts` prints, on a platform that takes away what it takes for idle. */
const slow: Case = { rpm: 9, callMs: 20_000, sampleMs: 10_000, coldMs: 5_000, minutes: 40 }

describe('a slow quota', () => {
  test('finds nobody who listens many times an hour, and uses its pace all the same', async () => {
    const found = await study(slow)
    expect(found.work.coldWakes).toBeGreaterThan(20)
    expect(found.work.unheardMs / found.work.observedMs).toBeGreaterThan(0.1)
    expect(found.used).toBeGreaterThan(0.93)
  })

  test('keeps its lead: cold wakes are no late messages', async () => {
    const { leadsMs } = await study(slow)
    expect(Math.max(...leadsMs)).toBe(timing.leadMs)
    expect(leadsMs.at(-1)).toBeLessThan(timing.leadMs)
  })

  test('loses a slot at each cold wake where nothing is visible earlier', async () => {
    const found = await study(slow, { isNothingEarlier: true })
    expect(found.used).toBeLessThan(0.85)
    expect(Math.max(...found.leadsMs)).toBe(timing.leadMs)
  })

  test('had its lead raised by them before', async () => {
    const found = await study(slow, { isNothingEarlier: true, isColdLearned: true })
    expect(Math.max(...found.leadsMs)).toBeGreaterThan(3 * timing.leadMs)
  })

  test('learns still from messages that come late by themselves', async () => {
    const lateMs = (chance: () => number): number => (chance() < 0.2 ? 25_000 : 0)
    const { leadsMs } = await study(slow, { lateMs })
    expect(Math.max(...leadsMs)).toBeGreaterThan(3 * timing.leadMs)
  })

  test('is not helped by a heartbeat for which there is an operation in five seconds', async () => {
    const without = await study(slow, { isNothingEarlier: true })
    const { used } = await study(slow, { isNothingEarlier: true, heartbeatMs: 15_000 })
    expect(used - without.used).toBeLessThan(0.06)
  })

  test('has no more slots given ahead than ever where its functions stay', async () => {
    const { used, aheadMs } = await study(slow, { alwaysReady: { 'image-work': 1, pacer: 1 } })
    expect(used).toBeGreaterThan(0.98)
    expect(aheadMs).toBeLessThan(timing.leadMs + 2 * timing.tickMs)
  })
})

test('one instance of image-work that stays keeps the pace, though ticks come late', async () => {
  const rough = { ...slow, coldMs: 15_000, rpm: 60, minutes: 15 }
  expect((await study(rough, { alwaysReady: { 'image-work': 1 } })).used).toBeGreaterThan(0.96)
})

describe.each(['goes on', 'aborts the newest', 'ends the process'] satisfies Drain[])(
  'what runs where an instance is drained: %s',
  (drain) => {
    test(
      'every law holds, every job ends, and no message is tried ten times',
      { timeout: 120_000 },
      async () => {
        let repeats = 0
        for (const seed of ['1', '2', '3', '4']) {
          const chance = chanceFrom('drain', drain, seed)
          const place = platform(chance, { sampleMs: 10_000, coldMs: 5_000, drain })
          const { jobs } = await simulate(
            fairWeather(`drain ${seed}`, {
              rpm: 9,
              instances: 1,
              submissions: batchOf('big', 80),
              host: place.host,
              callMs: () => 5_000 + chance() * 20_000,
            }),
          )
          expect(place.report('image-work').coldWakes).toBeGreaterThan(5)
          expect(place.deliveriesMax()).toBeLessThanOrEqual(3)
          repeats += jobs.reduce((sum, { possiblyRepeated }) => sum + possiblyRepeated, 0)
          // Only who has had all its calls cut ends without images.
          const failed = jobs.filter(({ phase }) => phase.kind !== 'succeeded')
          expect(failed.filter(({ attempts }) => attempts < 4)).toEqual([])
          expect(failed.length).toBeLessThanOrEqual(drain === 'goes on' ? 0 : 4)
        }
        expect(repeats > 0).toBe(drain !== 'goes on')
      },
    )
  },
)

test('one process that runs ticks and jobs, and is started again, holds no more than it can, and keeps its pace', async () => {
  const rpm = 200
  const run = await simulate(
    fairWeather('started again', {
      rpm,
      instances: 1,
      submissions: batchOf('big', rpm * 7),
      endsAfterMs: 7 * 60_000,
      callMs: () => 20_000,
      chaos: {
        untilMs: 200_000,
        storageFaults: 0,
        duplicates: 0,
        diesAtOperation: () => Infinity,
        accidents: [{ afterMs: 120_000, kind: 'kill', forMs: 0 }],
      },
    }),
  )
  const from = startAt + 170_000
  const starts = run.calls.filter(({ startedAt }) => startedAt >= from && startedAt < from + 240_000).length
  expect(starts / 4 / rpm).toBeGreaterThan(0.96)
})
