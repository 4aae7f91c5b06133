import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { QueueServiceClient, type QueueClient } from '@azure/storage-queue'
import { afterEach, expect, inject, test, vi } from 'vitest'
import { startAzurite, type Azurite } from '../../../src/local/azurite/azurite.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

test('messages come in the order in which they were sent, and each is deleted once', async () => {
  const connectionString = inject('azurite')
  const queue = await createQueue(connectionString)
  const other = await createQueue(connectionString)
  const texts = Array.from({ length: 40 }, (_, index) => `message ${index}`)
  for (const text of texts) await queue.sendMessage(text)
  await other.sendMessage('of another queue')

  const first = await receive(queue, 32)
  const second = await receive(queue, 32)
  expect([...first, ...second].map(({ messageText }) => messageText)).toEqual(texts)
  for (const { messageId, popReceipt } of first) await queue.deleteMessage(messageId, popReceipt)
  for (const { messageId, popReceipt } of second) await queue.updateMessage(messageId, popReceipt, 'again', 0)

  const again = await receive(queue, 32)
  expect(again.map(({ messageText, dequeueCount }) => [messageText, dequeueCount])).toEqual(
    second.map(() => ['again', 2]),
  )
  const [gone] = first
  await expect(queue.deleteMessage(gone!.messageId, gone!.popReceipt)).rejects.toMatchObject({
    statusCode: 404,
  })
  expect(await receive(other, 32)).toHaveLength(1)
})

test('a message that has expired is gone, and no other', async () => {
  // This one runs in this process, so that its clock can be moved.
  const azurite = await start()
  vi.useFakeTimers({ toFake: ['Date'] })
  const queue = await createQueue(azurite.connectionString)
  expect(await receive(queue, 1)).toEqual([])
  await queue.sendMessage('stays', { messageTimeToLive: -1 })
  await queue.sendMessage('a minute', { messageTimeToLive: 60 })
  await queue.sendMessage('two minutes', { messageTimeToLive: 120 })
  expect(await left(queue)).toEqual(['stays', 'a minute', 'two minutes'])

  vi.setSystemTime(Date.now() + 61_000)
  expect(await left(queue)).toEqual(['stays', 'two minutes'])
  vi.setSystemTime(Date.now() + 60_000)
  expect(await left(queue)).toEqual(['stays'])
})

test('messages outlive a restart', async () => {
  const location = await mkdtemp(join(tmpdir(), 'azurite-messages-'))
  cleanups.push(() => rm(location, { recursive: true }))
  const before = await start(location)
  const { name } = await createQueue(before.connectionString)
  const queue = clientOf(before.connectionString, name)
  for (const text of ['one', 'two']) await queue.sendMessage(text)
  const [first] = await receive(queue, 1)
  await queue.deleteMessage(first!.messageId, first!.popReceipt)
  await before.stop()

  const after = await start(location)
  const found = await receive(clientOf(after.connectionString, name), 32)
  expect(found.map(({ messageText }) => messageText)).toEqual(['two'])
})

async function start(location?: string): Promise<Azurite> {
  const azurite = await startAzurite(location === undefined ? {} : { location })
  let isStopped = false
  const stop = async () => {
    if (!isStopped) await azurite.stop()
    isStopped = true
  }
  cleanups.push(stop)
  return { ...azurite, stop }
}

function clientOf(connectionString: string, name: string): QueueClient {
  return QueueServiceClient.fromConnectionString(connectionString).getQueueClient(name)
}

async function createQueue(connectionString: string): Promise<QueueClient> {
  const queue = clientOf(connectionString, `messages-${randomUUID()}`)
  await queue.create()
  return queue
}

async function receive(queue: QueueClient, numberOfMessages: number) {
  const { receivedMessageItems } = await queue.receiveMessages({ numberOfMessages, visibilityTimeout: 600 })
  return receivedMessageItems
}

async function left(queue: QueueClient): Promise<string[]> {
  const { peekedMessageItems } = await queue.peekMessages({ numberOfMessages: 32 })
  return peekedMessageItems.map(({ messageText }) => messageText)
}
