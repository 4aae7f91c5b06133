import { describe, expect, test } from 'vitest'
import { timing } from '../../src/core/timing.ts'
import { tickWatches } from '../../src/pipeline/tick-watch.ts'

const now = Date.UTC(2026, 0, 5)

describe('an instance', () => {
  test('that finds a tick late in its first run was started for it', () => {
    const watch = tickWatches()('pool')
    watch.ran(now - timing.tickOverdueMs, now)
    expect(watch.isCold(now)).toBe(true)
    expect(watch.isCold(now + timing.coldKnownMs)).toBe(false)
  })

  test('that has run ticks takes none for a cold start, however late and whoever ran the last one', () => {
    const watch = tickWatches()('pool')
    watch.ran(now, now)
    watch.ran(now, now + timing.tickOverdueMs)
    watch.cameTooLate(now + timing.tickOverdueMs)
    expect(watch.isCold(now + timing.tickOverdueMs)).toBe(false)
  })

  test('that was started for a message which came too late does not take each later one for a start', () => {
    const watch = tickWatches()('pool')
    watch.cameTooLate(now)
    watch.cameTooLate(now + timing.coldKnownMs - 1)
    expect(watch.isCold(now + timing.coldKnownMs - 1)).toBe(true)
    expect(watch.isCold(now + timing.coldKnownMs)).toBe(false)
  })

  test('that is full holds the jobs itself: nobody takes it away between its ticks', () => {
    const watch = tickWatches()('pool')
    watch.cameTooLate(now)
    watch.foundFull()
    expect(watch.isCold(now)).toBe(false)
  })

  test('knows the ticks of each pool by themselves', () => {
    const ticksOf = tickWatches()
    ticksOf('east').cameTooLate(now)
    expect(ticksOf('west').isCold(now)).toBe(false)
    expect(ticksOf('east').isCold(now)).toBe(true)
  })
})

test('those who ask while it is under way share the one after it', async () => {
  const watch = tickWatches()('pool')
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let runs = 0
  const act = async (): Promise<void> => gates[(runs += 1) - 1]?.promise
  const first = watch.share(act)
  const rest = [watch.share(act), watch.share(act)]
  expect(runs).toBe(1)
  gates[0]!.resolve()
  await first
  gates[1]!.resolve()
  await Promise.all(rest)
  expect(runs).toBe(2)
  await watch.share(act)
  expect(runs).toBe(3)
})
