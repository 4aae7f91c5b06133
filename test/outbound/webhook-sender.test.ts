import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import OpenAI from 'openai'
import { Webhook } from 'standardwebhooks'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readHostPatterns } from '../../src/core/destination.ts'
import { batchEvent } from '../../src/core/batches/webhook.ts'
import { webhookSender, type ClosableSender } from '../../src/outbound/webhook-sender.ts'

const newSecret = `whsec_${Buffer.from('the newest secret of them all').toString('base64')}`
const oldSecret = `whsec_${Buffer.from('an older secret, still in use').toString('base64')}`

type Received = { readonly headers: Record<string, string>; readonly body: string; readonly method: string }

let received: Received[]
let answer: { status: number; headers: Record<string, string> }
let server: Server
let url: string
let senders: ClosableSender[]

beforeEach(async () => {
  received = []
  senders = []
  answer = { status: 204, headers: {} }
  server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      received.push({
        method: request.method ?? '',
        headers: flat(request.headers),
        body: Buffer.concat(chunks).toString(),
      })
      response.writeHead(answer.status, answer.headers).end()
    })
  })
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done))
  const address = server.address()
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/hook`
})

afterEach(async () => {
  await Promise.all(senders.map(async (sender) => sender.close()))
  server.closeAllConnections()
  await new Promise((done) => void server.close(done))
})

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

function sender({ secrets = [newSecret], trusted = new URL(url).host } = {}): ClosableSender {
  const hosts = readHostPatterns(trusted)
  const made = webhookSender({ secrets, hosts: hosts.kind === 'patterns' ? hosts.patterns : [] }, Date)
  senders.push(made)
  return made
}

const event = batchEvent(
  {
    batch: 'batch_1',
    status: 'completed',
    endedAt: Date.UTC(2026, 10, 23),
    outputFileId: 'file-1',
    errorFileId: null,
    counts: { total: 1, succeeded: 1, failed: 0, cancelled: 0 },
  },
  'https://darkroom.example',
)

async function send(by: ClosableSender, to = url, sentAt = Date.now()) {
  return by.send({ url: to, eventId: event.eventId, body: event.body, sentAt })
}

describe('a webhook', () => {
  it('is signed so that the specification’s own library takes it', async () => {
    const sentAt = Date.now()
    expect(await send(sender(), url, sentAt)).toEqual({ kind: 'status', status: 204, retryAfterMs: null })
    const { method, headers, body } = received[0]!
    expect(method).toBe('POST')
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'webhook-id': event.eventId,
      'webhook-timestamp': String(Math.floor(sentAt / 1_000)),
    })
    expect(new Webhook(newSecret).verify(body, headers)).toEqual(JSON.parse(event.body))
    expect(() => new Webhook(newSecret).verify(body.replace('batch_1', 'batch_2'), headers)).toThrow(
      /signature/,
    )
    expect(() => new Webhook(oldSecret).verify(body, headers)).toThrow(/signature/)
  })

  it('is read by the openai package as an event of its own', async () => {
    await send(sender())
    const { headers, body } = received[0]!
    const client = new OpenAI({ apiKey: 'none', webhookSecret: newSecret })
    expect(await client.webhooks.unwrap(body, headers)).toMatchObject({
      id: event.eventId,
      object: 'event',
      type: 'batch.completed',
      data: { id: 'batch_1' },
    })
  })

  it('is signed with every secret, so that they can be changed one after the other', async () => {
    await send(sender({ secrets: [newSecret, oldSecret] }))
    const { headers, body } = received[0]!
    expect(headers['webhook-signature']).toMatch(/^v1,\S+ v1,\S+$/)
    for (const secret of [newSecret, oldSecret]) {
      expect(new Webhook(secret).verify(body, headers)).toMatchObject({ type: 'batch.completed' })
    }
  })

  it('is the same on every try but for the time and what is signed with it', async () => {
    const by = sender()
    await send(by, url, Date.now() - 60_000)
    await send(by)
    const [first, second] = [received[0]!, received[1]!]
    expect(second.body).toBe(first.body)
    expect(second.headers['webhook-id']).toBe(first.headers['webhook-id'])
    expect(second.headers['webhook-timestamp']).not.toBe(first.headers['webhook-timestamp'])
    expect(new Webhook(newSecret).verify(first.body, first.headers)).toEqual(JSON.parse(event.body))
  })

  it('follows no redirect', async () => {
    answer = { status: 307, headers: { location: url.replace('/hook', '/elsewhere') } }
    expect(await send(sender())).toEqual({ kind: 'status', status: 307, retryAfterMs: null })
    expect(received).toHaveLength(1)
  })

  it('tells how long the receiver asks to be left alone', async () => {
    answer = { status: 503, headers: { 'retry-after': '120' } }
    expect(await send(sender())).toEqual({ kind: 'status', status: 503, retryAfterMs: 120_000 })
    answer = { status: 503, headers: { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() } }
    const later = await send(sender())
    expect(later.kind === 'status' && Math.abs((later.retryAfterMs ?? 0) - 3_600_000)).toBeLessThan(60_000)
    answer = { status: 503, headers: { 'retry-after': 'soon' } }
    expect(await send(sender())).toMatchObject({ retryAfterMs: null })
  })

  it('goes to no private address that the operator has not named', async () => {
    const by = sender({ trusted: '' })
    const https = url.replace('http:', 'https:').replace(/:\d+/, '')
    expect(await send(by)).toEqual({ kind: 'refused', why: 'must begin with https://' })
    expect(await send(by, https)).toEqual({ kind: 'refused', why: 'is not a public one' })
    expect(by.fault(https)).toBe(
      'the address is not a public one, unless the setting WEBHOOK_HOSTS names its host',
    )
    expect(by.fault('https://hooks.example.com/')).toBeUndefined()
    expect(received).toEqual([])
  })

  it('is not sent without a secret to sign it', async () => {
    const by = sender({ secrets: [] })
    expect(by.fault('https://hooks.example.com/')).toMatch(/WEBHOOK_SECRETS is not set/)
    expect(await send(by)).toMatchObject({ kind: 'refused', why: expect.stringMatching(/WEBHOOK_SECRETS/) })
    expect(received).toEqual([])
  })
})
