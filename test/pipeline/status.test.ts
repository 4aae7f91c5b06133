import { expect, test } from 'vitest'
import { stopped } from '../../src/core/budget.ts'
import { timing } from '../../src/core/timing.ts'
import { takeMessage } from '../../src/pipeline/intake.ts'
import { changeLedger } from '../../src/pipeline/ledgers.ts'
import { batchStatus, budgetStatus, imageContent, jobStatus } from '../../src/pipeline/status.ts'
import { runJob } from '../../src/pipeline/worker.ts'
import { batch, deployment, messageOf, newWorld, roomIn, workOf } from '../support/room.ts'

test('a batch is counted from its own rows, and its end foretold', async () => {
  const world = newWorld()
  const room = roomIn(world)
  expect(await batchStatus(room, batch)).toBeUndefined()
  for (let index = 0; index < 60; index += 1)
    await world.clock.run(takeMessage(room, messageOf(`line-${index}`)))
  await world.clock.run(takeMessage(room, messageOf('bad', { n: 0 })))
  const status = (await batchStatus(room, batch))!
  expect(status).toMatchObject({
    status: 'in_progress',
    counts: { total: 61, waiting: 60, running: 0, succeeded: 0, failed: 1, cancelled: 0 },
  })
  // 60 slots at 58.8 a minute, and one call.
  const expectedMs = timing.firstSlotMs + (60 * 60_000) / 58.8 + 20_000
  expect(status.estimatedFinishAt! - world.clock.now()).toBeGreaterThan(expectedMs * 0.95)
  expect(status.estimatedFinishAt! - world.clock.now()).toBeLessThan(expectedMs * 1.05)
})

test('a job with a slot starts at it, one that waits after those before it, one that is done never', async () => {
  const world = newWorld()
  const room = roomIn(world)
  for (let index = 0; index < 60; index += 1) {
    await world.clock.run(takeMessage(room, messageOf(`line-${String(index).padStart(2, '0')}`)))
  }
  const estimate = async (key: string) => (await jobStatus(room, { batch, key }))?.estimatedStartAt
  expect(await estimate('line-00')).toBe(workOf(world, 'line-00').slotAt)
  const last = (await estimate('line-59'))! - world.clock.now()
  expect(last).toBeGreaterThan(58_000)
  expect(last).toBeLessThan(66_000)
  await world.clock.run(runJob(room, workOf(world, 'line-00')))
  expect(await estimate('line-00')).toBeNull()
  expect(await jobStatus(room, { batch, key: 'nobody' })).toBeUndefined()
})

test('nothing is foretold while every deployment is stopped', async () => {
  const world = newWorld()
  const room = roomIn(world)
  for (let index = 0; index < 30; index += 1)
    await world.clock.run(takeMessage(room, messageOf(`line-${index}`)))
  await world.clock.run(
    changeLedger(room, deployment, (ledger) =>
      stopped(ledger, { now: world.clock.now(), code: '401', message: 'the key is wrong' }),
    ),
  )
  const waiting = (await room.jobs.firstWaiting({ batch, limit: 1 }))[0]!
  expect((await jobStatus(room, waiting))?.estimatedStartAt).toBeNull()
  expect((await batchStatus(room, batch))?.estimatedFinishAt).toBeNull()
  expect((await budgetStatus(room)).deployments[0]?.ledger.breaker?.code).toBe('401')
})

test('a finished batch is completed, with its rate and its images', async () => {
  const world = newWorld()
  const room = roomIn(world)
  await world.clock.run(takeMessage(room, messageOf('cat', { n: 2 })))
  await world.clock.run(runJob(room, workOf(world, 'cat')))
  expect(await batchStatus(room, batch)).toMatchObject({
    status: 'completed',
    estimatedFinishAt: null,
    ratePerMinute: 1,
    counters: { images: 2, callMs: 20_000 },
  })
  const found = await imageContent(room, { batch, key: 'cat' }, 1)
  expect(found?.contentType).toBe('image/png')
  expect(found?.content.kind === 'bytes' && new TextDecoder().decode(found.content.bytes)).toBe(
    'call 1, image 1',
  )
  expect(await imageContent(room, { batch, key: 'cat' }, 2)).toBeUndefined()
  expect(await imageContent(room, { batch, key: 'dog' }, 0)).toBeUndefined()
})
