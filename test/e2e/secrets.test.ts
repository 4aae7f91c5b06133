import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { queueNames } from '../../src/storage/queues.ts'
import { run, type Running } from './running.ts'

/** Stands in everything that somebody sends, but for the ids by which a job is spoken of. */
const secret = 'XYZZY'
const key = `dk_${secret}${'k'.repeat(30)}`

let room: Running

beforeAll(async () => {
  room = await run({
    rpm: 600,
    settings: { WEBHOOK_SECRETS: `whsec_${Buffer.from('a webhook secret of 24 b').toString('base64')}` },
  })
})

afterAll(async () => {
  await room.stop()
})

const lines = () => room.instances.flatMap(({ lines }) => lines)
const asked = (more: object) => ({
  prompt: `a ${secret} fox`,
  user: secret,
  metadata: { note: secret },
  ...more,
})

async function form(path: string, fields: readonly (readonly [string, string | File])[]): Promise<Response> {
  const body = new FormData()
  for (const [name, value] of fields) body.append(name, value)
  return fetch(`${room.instances[0]!.url}${path}`, { method: 'POST', body, headers: { 'api-key': key } })
}

async function idOf(fields: Parameters<typeof form>[1]): Promise<any> {
  return (await form('/v1/files', fields)).json()
}

test('no log line holds a prompt, key, signature, file name, receiver’s address, or anybody’s words', async () => {
  const batch = 'quiet'
  const receiver = `https://hooks.example/${secret}?token=${secret}`
  const png = `data:image/png;base64,${Buffer.from(secret).toString('base64')}`
  // Answers of the model that quote the prompt, or fail in every other way.
  const faults = [
    'moderation_blocked',
    'content_policy_violation',
    'contentFilter',
    '500:x1',
    'garbage:x1',
    'dropped:x1',
  ]
  for (const [number, fault] of faults.entries()) {
    const body = asked({ batch, custom_id: `f${number}`, prompt: `[fault:${fault}] ${secret}` })
    expect((await room.post('/v1/jobs', body)).status).toBe(202)
  }
  // What is refused over HTTP, field by field.
  for (const more of [
    { size: secret },
    { [secret]: 1 },
    { image: png },
    { image: `https://images.example/a.png?sig=${secret}` },
    { image: `${secret}.png` },
    { image: `file-${secret}` },
    { custom_id: `${secret}\u0000` },
  ]) {
    expect((await room.post('/v1/jobs', asked(more))).status).toBeGreaterThanOrEqual(400)
  }
  await room.post('/v1/jobs', `{"prompt":"${secret}`)
  await room.post('/v1/batches', { input_file_id: secret, webhook: receiver, completion_window: secret })
  await room.post('/v1/images/edits', asked({ images: [{ image_url: png }] }))
  await room.post('/v1/estimate', secret)
  for (const path of [
    `/v1/${secret}`,
    `/v1/jobs/${secret}.${secret}`,
    `/v1/files/${secret}?code=${secret}`,
  ]) {
    await fetch(`${room.instances[0]!.url}${path}`, {
      headers: { authorization: `Bearer ${key}`, origin: `https://${secret}.example` },
    })
  }
  // Files, and a batch of one, with a receiver that is refused or does not answer.
  const line = JSON.stringify({
    custom_id: 'a',
    method: 'POST',
    url: '/v1/images/generations',
    body: { prompt: secret },
  })
  const file = new File([`${line}\n`], `${secret}.jsonl`)
  const { id } = await idOf([
    ['purpose', 'batch'],
    ['file', file],
  ])
  await form('/v1/files', [
    ['purpose', secret],
    ['file', file],
  ])
  await form('/v1/images/edits', [
    ['prompt', secret],
    ['image', new File([secret], `${secret}.png`)],
  ])
  const order = { input_file_id: id, endpoint: '/v1/images/generations', completion_window: '24h' }
  const submitted = await room.post('/v1/batches', {
    ...order,
    metadata: { note: secret },
    webhook: receiver,
  })
  expect(submitted.status).toBe(200)
  const { id: brokenId } = await idOf([
    ['purpose', 'batch'],
    ['file', new File([`{"${secret}`], 'b.jsonl')],
  ])
  await room.post('/v1/batches', { ...order, input_file_id: brokenId })
  // What comes by the queues: jobs that are none, and messages that are not ours.
  const jobs = [
    secret,
    `{"prompt":"${secret}","size":"${secret}"}`,
    JSON.stringify({ batch: 'quiet', prompt: 7, [secret]: secret }),
    JSON.stringify({ prompt: 'a fox', [secret]: 1 }),
  ]
  for (const text of jobs) await room.queue(queueNames.jobs).sendMessage(text)
  for (const name of [queueNames.work, queueNames.pacer, queueNames.batches, queueNames.webhooks]) {
    await room.queue(name).sendMessage(JSON.stringify({ [secret]: secret, batch: secret }))
  }
  // A deployment that refuses the key with words of its own.
  await vi.waitUntil(async () => (await room.get(`/v1/batches/${batch}`)).body.counts.failed >= 3, {
    timeout: 40_000,
    interval: 200,
  })
  room.deployment.set({ wrongKey: true })
  await room.post('/v1/jobs', asked({ batch, custom_id: 'late' }))
  await vi.waitUntil(() => lines().some((each) => each.includes('deployment_stopped')), {
    timeout: 40_000,
    interval: 200,
  })
  const count = (event: string): number =>
    lines().filter((each) => each.includes(`"event":"${event}"`)).length
  for (const [event, least] of [
    ['run', 1],
    ['job_rejected', 1],
    ['request_refused', 1],
    ['batch_registered', 1],
    ['function_failed', 3],
  ] as const) {
    await vi.waitUntil(() => count(event) >= least, { timeout: 40_000, interval: 200 })
  }

  expect(lines().filter((each) => each.includes(secret))).toEqual([])
  expect(
    lines().filter((each) => /Access denied|simulated-deployment-key|data:image|base64,/.test(each)),
  ).toEqual([])
  for (const each of lines().filter((line) => line.includes('"event"')))
    expect(() => JSON.parse(each)).not.toThrow()
})
