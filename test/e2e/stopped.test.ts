import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { run, type Running } from './running.ts'

let room: Running

beforeAll(async () => {
  room = await run({ rpm: 60, deployment: { wrongKey: true } })
})

afterAll(async () => {
  await room.stop()
})

it(
  'a deployment that refuses the key is stopped, says why, costs no attempt, and is taken back',
  { timeout: 240_000 },
  async () => {
    await room.post('/v1/jobs', { prompt: 'patience', custom_id: 'patience', batch: 'stopped' })
    const health = async () => (await room.get('/healthz')).body
    await vi.waitUntil(async () => (await health()).status === 'degraded', { timeout: 60_000, interval: 200 })
    expect(await health()).toMatchObject({ stopped: [{ deployment: 'gpt-image-1', code: '401' }] })
    const { body } = await room.get('/v1/budget')
    expect(body.deployments[0].stopped.message).toContain('Access denied')
    expect((await room.get('/v1/jobs/stopped.patience')).body).toMatchObject({
      status: 'queued',
      attempts: 0,
    })
    expect(room.deployment.log()).toHaveLength(1)

    room.deployment.set({ wrongKey: false })
    await vi.waitUntil(
      async () => (await room.get('/v1/jobs/stopped.patience')).body.status === 'succeeded',
      {
        timeout: 150_000,
        interval: 500,
      },
    )
    expect(await health()).toEqual({ status: 'ok', stopped: [] })
    expect((await room.get('/v1/jobs/stopped.patience')).body.attempts).toBe(1)
  },
)
