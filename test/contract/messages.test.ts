import { beforeAll, describe, expect, test } from 'vitest'
import { stores, uniqueName, type MessagesUnderTest } from './stores.ts'

describe.each(stores)('messages in $name', ({ makeMessages }) => {
  let queues: MessagesUnderTest
  beforeAll(async () => {
    queues = await makeMessages()
  })

  const work = (key: string) => ({
    pool: 'pool',
    quota: 'east',
    deployment: 'gpt-image-1',
    batch: 'batch',
    key,
    slotAt: Date.now() + 0.125,
    epoch: 5,
    wakeAt: Date.now(),
  })

  const hook = (batch: string) => ({
    kind: 'event' as const,
    batch,
    event: { eventId: 'evt_1', type: 'batch.completed' as const, body: '{"type":"batch.completed"}' },
    tries: 3,
  })

  test('come as they were sent when their time has come', async () => {
    const message = work(uniqueName('key'))
    const tick = { pool: uniqueName('pool'), epoch: 7 }
    await queues.messages.sendWork(message, Date.now())
    await queues.messages.sendTick(tick, Date.now() - 5_000)
    const told = hook(uniqueName('batch'))
    const ended = {
      kind: 'job' as const,
      batch: told.batch,
      key: 'cat',
      finishedAt: Date.now() + 0.5,
      failure: { kind: 'refused' as const, code: 'content_policy' },
      looks: 1,
    }
    await queues.messages.sendHook(told, Date.now())
    await queues.messages.sendHook(ended, Date.now())
    const visible = await queues.visibleNow()
    expect(visible.work).toContainEqual(message)
    expect(visible.ticks).toContainEqual(tick)
    expect(visible.hooks).toEqual(expect.arrayContaining([told, ended]))
  })

  test('stay hidden until then', async () => {
    const message = work(uniqueName('key'))
    const tick = { pool: uniqueName('pool'), epoch: 8 }
    await queues.messages.sendWork(message, Date.now() + 60_000)
    await queues.messages.sendTick(tick, Date.now() + 60_000)
    const told = hook(uniqueName('batch'))
    await queues.messages.sendHook(told, Date.now() + 86_400_000)
    const visible = await queues.visibleNow()
    expect(visible.work).not.toContainEqual(message)
    expect(visible.ticks).not.toContainEqual(tick)
    expect(visible.hooks).not.toContainEqual(told)
  })
})
