import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { run, type Running } from './running.ts'

const jobs = 12

let room: Running

beforeAll(async () => {
  room = await run({ rpm: 60 })
})

afterAll(async () => {
  await room.stop()
})

const started = () => room.deployment.log().length

test('a worker that hears SIGTERM starts no call any more, and what waits is done by the next', async () => {
  for (let number = 0; number < jobs; number += 1) {
    await room.post('/v1/jobs', { prompt: `boat ${number}`, batch: 'ending', custom_id: `${number}` })
  }
  await vi.waitUntil(() => started() >= 2, { timeout: 20_000, interval: 50 })
  const [instance] = room.instances
  const pid = await instance!.workerPid()
  const endingAt = performance.now()
  process.kill(pid, 'SIGTERM')
  // A call at this very moment may still have begun.
  await pause(500)
  const before = started()
  await vi.waitUntil(() => instance!.lines.some((line) => line.includes('the worker ended')), {
    timeout: 30_000,
    interval: 50,
  })
  expect(started()).toBe(before)
  // Those under way had their time.
  expect(performance.now() - endingAt).toBeGreaterThan(9_000)
  expect(before).toBeLessThan(jobs)

  const status = async () => (await room.get('/v1/batches/ending')).body
  await vi.waitUntil(async () => (await status()).counts.succeeded === jobs, {
    timeout: 50_000,
    interval: 500,
  })
  expect(await status()).toMatchObject({ possibly_repeated_calls: 0 })
  expect(started()).toBe(jobs)
})
