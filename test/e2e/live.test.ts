import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import OpenAI, { BadRequestError, toFile } from 'openai'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { run, type Running } from './running.ts'

const secret = `whsec_${Buffer.from('a secret of at least 24 bytes').toString('base64')}`
const endpoint = '/v1/images/generations' as const

let room: Running
let client: OpenAI
let receiver: Server
let hookUrl: string
/** What the receiver took, each verified as its body says it must be. */
const taken: { id: string; event: any }[] = []
let refusals = 1

beforeAll(async () => {
  receiver = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const headers = Object.fromEntries(
        Object.entries(request.headers).map(([name, each]) => [name, String(each)]),
      )
      const event: unknown = new Webhook(secret).verify(Buffer.concat(chunks).toString(), headers)
      // The very first one is to be tried again.
      if (refusals > 0) {
        refusals -= 1
        response.writeHead(503).end()
        return
      }
      taken.push({ id: headers['webhook-id']!, event })
      response.writeHead(204).end()
    })
  })
  await new Promise<void>((done) => void receiver.listen(0, '127.0.0.1', done))
  const address = receiver.address()
  const host = `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  hookUrl = `http://${host}/hook`
  room = await run({ rpm: 600, settings: { WEBHOOK_SECRETS: secret, WEBHOOK_HOSTS: host } })
  client = new OpenAI({ baseURL: `${room.instances[0]!.url}/v1`, apiKey: 'x', maxRetries: 0 })
})

afterAll(async () => {
  await room.stop()
  receiver.closeAllConnections()
  await new Promise((done) => void receiver.close(done))
})

async function submit(count: number, fields: object = {}): Promise<OpenAI.Batch> {
  const lines = Array.from({ length: count }, (_, index) =>
    JSON.stringify({
      custom_id: `line-${index}`,
      method: 'POST',
      url: endpoint,
      body: { prompt: `boat ${index}` },
    }),
  )
  const file = await client.files.create({
    file: await toFile(Buffer.from(lines.join('\n')), 'lines.jsonl'),
    purpose: 'batch',
  })
  const params = { input_file_id: file.id, endpoint, completion_window: '24h', ...fields } as const
  return client.batches.create(params)
}

type ServerEvent = { id: string | undefined; event: string; data: any }

async function open(
  id: string,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<Response> {
  return fetch(`${room.instances[0]!.url}/v1/batches/${id}/events`, { headers, ...(signal && { signal }) })
}

/** Events as they come; a comment is none. */
async function* eventsOf(response: Response): AsyncGenerator<ServerEvent> {
  let text = ''
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = new Map(
        text
          .slice(0, end)
          .split('\n')
          .map((line) => [line.split(': ')[0]!, line.slice(line.indexOf(': ') + 2)]),
      )
      text = text.slice(end + 2)
      const data = fields.get('data')
      if (data !== undefined)
        yield { id: fields.get('id'), event: fields.get('event')!, data: JSON.parse(data) }
    }
  }
}

async function all(response: Response): Promise<ServerEvent[]> {
  const events: ServerEvent[] = []
  for await (const event of eventsOf(response)) events.push(event)
  return events
}

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `line-${index}`).sort()
const jobsOf = (events: readonly ServerEvent[]): string[] =>
  events.flatMap(({ event, data }) => (event === 'job' ? [String(data.custom_id)] : [])).sort()

test('a batch is followed to its end, and its webhook tells the same', { timeout: 90_000 }, async () => {
  const batch = await submit(12, { webhook: { url: hookUrl, per_job: true } })
  const response = await open(batch.id)
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
  const events = await all(response)
  expect(jobsOf(events)).toEqual(names(12))
  expect(events.find(({ event }) => event === 'job')?.data).toMatchObject({
    status: 'succeeded',
    url: expect.stringMatching(new RegExp(`/v1/jobs/${batch.id}\\.line-\\d+$`)),
  })
  const counts = events.filter(({ event }) => event === 'counts')
  expect(counts.length).toBeGreaterThan(1)
  const end = events.at(-1)!
  expect(end).toMatchObject({ event: 'batch', data: { id: batch.id, status: 'completed' } })

  // A browser that comes back after the end is told to stop.
  expect((await open(batch.id, { 'last-event-id': end.id! })).status).toBe(204)
  expect((await open(batch.id, { 'last-event-id': 'none of ours' })).status).toBe(400)
  expect((await open('batch_that_is_none')).status).toBe(404)

  await vi.waitFor(() => expect(new Set(taken.map(({ id }) => id)).size).toBe(13), {
    timeout: 40_000,
    interval: 250,
  })
  const types = taken.map(({ event }): string => event.type)
  expect(types.filter((type) => type === 'job.succeeded').length).toBeGreaterThanOrEqual(12)
  const ended = taken.find(({ event }) => event.type === 'batch.completed')!.event
  expect(ended.data).toMatchObject({ id: batch.id, request_counts: { total: 12, completed: 12, failed: 0 } })
  expect(
    await client.files
      .content(ended.data.output_file_id)
      .then(async (file) => (await file.text()).trim().split('\n').length),
  ).toBe(12)
  const { webhook }: any = await client.batches.retrieve(batch.id)
  expect(webhook).toMatchObject({ url: hookUrl, per_job: true })
  expect(webhook.deliveries[0]).toMatchObject({ status: 204, fault: null })
})

test('who loses the connection goes on where it was', { timeout: 60_000 }, async () => {
  const batch = await submit(30)
  const leaving = new AbortController()
  const first: ServerEvent[] = []
  for await (const event of eventsOf(await open(batch.id, {}, leaving.signal))) {
    first.push(event)
    if (jobsOf(first).length === 5) break
  }
  leaving.abort()
  const lastId = first.findLast(({ id }) => id !== undefined)!.id!
  await new Promise((done) => setTimeout(done, 1_000))
  const rest = await all(await open(batch.id, { 'last-event-id': lastId }))
  expect([...new Set([...jobsOf(first), ...jobsOf(rest)])].sort()).toEqual(names(30))
  const ids = rest.flatMap(({ event, id }) => (event === 'job' ? [id] : []))
  expect(new Set(ids).size).toBe(ids.length)
  expect(rest.at(-1)?.event).toBe('batch')
})

test('two hundred follow one batch', { timeout: 60_000 }, async () => {
  const batch = await submit(10)
  const streams = await Promise.all(Array.from({ length: 200 }, async () => open(batch.id)))
  const told = await Promise.all(streams.map(all))
  for (const events of told) expect(jobsOf(events)).toEqual(names(10))
})

test('a webhook to a private address is refused', async () => {
  await expect(submit(1, { webhook: { url: 'https://169.254.169.254/metadata' } })).rejects.toBeInstanceOf(
    BadRequestError,
  )
  await expect(submit(1, { webhook: { url: 'http://localhost:1/' } })).rejects.toThrow(
    /webhook: the address must begin with https/,
  )
})

test(
  'an instance that is stopped at a terminal sends its followers away at once',
  { timeout: 60_000 },
  async () => {
    await room.post(`/v1/jobs`, { batch: 'quiet', custom_id: 'a', prompt: 'a boat' })
    await room.post(`/v1/batches/quiet/pause`, {})
    await room.post(`/v1/jobs`, { batch: 'quiet', custom_id: 'b', prompt: 'a boat' })
    const instance = await room.startInstance()
    const response = await fetch(`${instance.url}/v1/batches/quiet/events`)
    const reading = all(response)
    await new Promise((done) => setTimeout(done, 1_500))
    const stoppedAt = Date.now()
    instance.process.kill('SIGINT')
    const events = await reading
    await once(instance.process, 'exit')
    expect(Date.now() - stoppedAt).toBeLessThan(10_000)
    expect(events.some(({ event }) => event === 'counts')).toBe(true)
    expect(events.at(-1)?.event).not.toBe('batch')
  },
)
