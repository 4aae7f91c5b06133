import { randomUUID } from 'node:crypto'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { afterEach, describe, expect, inject, test } from 'vitest'
import type { DateSeen } from '../../src/core/clock-offset.ts'
import { connectStorage, type StorageConnection } from '../../src/storage/connection.ts'

type Listening = {
  readonly storage: StorageConnection
  /** What was heard since it was last asked. */
  readonly heard: () => readonly DateSeen[]
}

async function listenTo(connectionString: string, now = Date.now): Promise<Listening> {
  const seen: DateSeen[] = []
  const storage = await connectStorage(
    { kind: 'connection-string', connectionString },
    () => Promise.reject(new Error('a connection string needs no credential')),
    { listener: { now, heard: (date) => seen.push(date) } },
  )
  return { storage, heard: () => seen.splice(0) }
}

/** Azurite runs on this machine: what it says must be the time between asking and hearing. */
function expectTrue({ sentAt, receivedAt, serverDate }: DateSeen): void {
  expect(serverDate % 1_000).toBe(0)
  expect(sentAt).toBeLessThanOrEqual(receivedAt)
  expect(serverDate).toBeLessThanOrEqual(receivedAt)
  expect(serverDate + 1_000).toBeGreaterThan(sentAt)
}

describe('the dates of real answers are heard', () => {
  const name = `t${randomUUID().replaceAll('-', '')}`

  test('of blobs, also through clients made of the service client', async () => {
    const { storage, heard } = await listenTo(inject('azurite'))
    const container = storage.blobs.getContainerClient(name)
    await container.create()
    await container.getBlockBlobClient('a/b').upload('text', 4)
    await container.getBlobClient('a/b').getProperties()
    const seen = heard()
    expect(seen.length).toBe(3)
    seen.forEach(expectTrue)
  })

  test('of queues', async () => {
    const { storage, heard } = await listenTo(inject('azurite'))
    const queue = storage.queues.getQueueClient(name)
    await queue.create()
    await queue.sendMessage('text')
    const seen = heard()
    expect(seen.length).toBe(2)
    seen.forEach(expectTrue)
  })

  test('of tables: one for a transaction, and one for a refusal', async () => {
    const { storage, heard } = await listenTo(inject('azurite'))
    const table = storage.table(name)
    await table.createTable()
    await table.submitTransaction([
      ['create', { partitionKey: 'p', rowKey: 'a' }],
      ['create', { partitionKey: 'p', rowKey: 'b' }],
    ])
    await expect(table.getEntity('p', 'none')).rejects.toMatchObject({ statusCode: 404 })
    const seen = heard()
    expect(seen.length).toBe(3)
    seen.forEach(expectTrue)
  })

  test('by the clock that listens', async () => {
    const { storage, heard } = await listenTo(inject('azurite'), () => Date.now() + 7_000)
    await storage.queues.getProperties()
    const [seen] = heard()
    expect(seen!.sentAt).toBeGreaterThan(seen!.serverDate + 5_000)
  })
})

describe('of what comes back, only answers of the service are heard:', () => {
  const date = 'Mon, 05 Jan 2026 12:00:07 GMT'
  let server: Server | undefined
  afterEach(async () => {
    await new Promise((resolve) => server?.close(resolve))
  })

  /** A service whose answers are these, one after the other; the last one again and again. */
  async function serviceOf(...answers: ((response: ServerResponse) => void)[]): Promise<Listening> {
    let count = 0
    server = createServer({ keepAliveTimeout: 1 }, (request, response) => {
      request.resume()
      response.sendDate = false
      answers[Math.min(count, answers.length - 1)]!(response)
      count += 1
    })
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : undefined}/account`
    const endpoints = ['Blob', 'Queue', 'Table'].map((kind) => `${kind}Endpoint=${url}`).join(';')
    return listenTo(
      `DefaultEndpointsProtocol=http;AccountName=account;AccountKey=${btoa('key')};${endpoints}`,
    )
  }

  const answer =
    (status: number, headers: Record<string, string>) =>
    (response: ServerResponse): void => {
      response.writeHead(status, headers).end()
    }
  const serviceMark = { 'x-ms-request-id': 'id' }

  async function askAll(storage: StorageConnection): Promise<void> {
    await storage.blobs.getContainerClient('c').setMetadata({})
    await storage.queues.getQueueClient('q').setMetadata({})
    await storage.table('t').deleteEntity('p', 'r')
  }

  test('those with its id and a date', async () => {
    const { storage, heard } = await serviceOf(answer(204, { ...serviceMark, date }))
    await storage.table('t').deleteEntity('p', 'r')
    expect(heard().map(({ serverDate }) => serverDate)).toEqual([Date.UTC(2026, 0, 5, 12, 0, 7)])
  })

  test.each([
    ['of another server', { date }],
    ['without a date', serviceMark],
    ['with a date that is none', { ...serviceMark, date: 'soon' }],
  ])('not one %s', async (_, headers) => {
    const { storage, heard } = await serviceOf(
      answer(200, headers),
      answer(204, headers),
      answer(204, headers),
    )
    await askAll(storage)
    expect(heard()).toEqual([])
  })

  test('each try of a change of a table', async () => {
    const { storage, heard } = await serviceOf(
      answer(503, { ...serviceMark, date, 'retry-after-ms': '1' }),
      answer(204, { ...serviceMark, date: 'Mon, 05 Jan 2026 12:00:08 GMT' }),
    )
    await storage.table('t').deleteEntity('p', 'r')
    const [first, second] = heard()
    expect(second!.serverDate - first!.serverDate).toBe(1_000)
    expect(second!.sentAt).toBeGreaterThanOrEqual(first!.receivedAt)
  })
})
