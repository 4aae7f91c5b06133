import { expect, test } from 'vitest'
import { localCaller } from '../../../src/core/caller.ts'
import { cancelBatch } from '../../../src/pipeline/batches/batches.ts'
import { openBatch } from '../../../src/pipeline/intake/known-batch.ts'
import { takeMessage, takePoisoned, takeRequest } from '../../../src/pipeline/intake/intake.ts'
import { assertRowsAgree } from '../../support/laws.ts'
import { batch, jobIn, messageOf, newWorld, contextIn, workOf } from '../../support/context.ts'

const dayMs = 86_400_000

test('a message becomes a waiting job, which gets its slot within seconds', async () => {
  const world = newWorld()
  const context = contextIn(world)
  const { job, isNew } = await world.clock.run(
    takeMessage(context, messageOf('cat', { n: 2, metadata: { a: 'b' } })),
  )
  expect(isNew).toBe(true)
  expect(job).toMatchObject({
    batch,
    key: 'cat',
    customId: 'cat',
    request: { prompt: 'a picture of cat', n: 2 },
    metadata: { a: 'b' },
  })
  expect(workOf(world, 'cat').slotAt - world.clock.now()).toBeLessThan(3_000)
  assertRowsAgree(batch, world.jobs.rows(batch))
})

test('a message that is delivered twice makes one job, and one call', async () => {
  const world = newWorld()
  const first = await world.clock.run(takeMessage(contextIn(world), messageOf('cat')))
  const again = await world.clock.run(takeMessage(contextIn(world), messageOf('cat')))
  expect([first.isNew, again.isNew]).toEqual([true, false])
  expect(again.job.key).toBe('cat')
  expect(assertRowsAgree(batch, world.jobs.rows(batch)).jobs).toHaveLength(1)
  expect(world.messages.work).toHaveLength(1)
})

test('an instance that died after the write has told nobody: the second delivery does', async () => {
  const world = newWorld()
  const died = contextIn(world, {
    budgets: { ...contextIn(world).budgets, readTick: async () => new Promise(() => {}) },
  })
  void takeMessage(died, messageOf('cat'))
  await world.clock.runUntil(world.clock.now() + 600_000)
  expect((await jobIn(died, 'cat')).phase.kind).toBe('waiting')
  expect(world.messages.work).toEqual([])
  await world.clock.run(takeMessage(contextIn(world), messageOf('cat')))
  expect(world.messages.work).toHaveLength(1)
})

test('delivered again after midnight, a message meets the job it made before', async () => {
  const world = newWorld(Date.UTC(2026, 0, 5, 23, 59, 59))
  const insertedAt = world.clock.now()
  const message = { text: '{"prompt": "a cat"}', messageId: 'message-1', insertedAt }
  const first = await world.clock.run(takeMessage(contextIn(world), message))
  await world.clock.runUntil(insertedAt + 2_000)
  const again = await world.clock.run(takeMessage(contextIn(world), message))
  expect(first.job.batch).toBe('inbox-2026-01-05')
  expect(again).toMatchObject({ isNew: false, job: { batch: first.job.batch, key: first.job.key } })
  expect(world.jobs.partitions()).toEqual(['inbox-2026-01-05'])
})

test('a message that is no job becomes a failed one, and its corrected twin a job', async () => {
  const world = newWorld()
  const context = contextIn(world)
  const { job, fault } = await world.clock.run(takeMessage(context, messageOf('cat', { size: 'huge' })))
  expect(fault?.message).toContain('size')
  expect(job).toMatchObject({ batch, customId: 'cat', attempts: 0, phase: { kind: 'failed' } })
  await world.clock.run(takeMessage(context, messageOf('cat', { size: 'huge' })))
  expect((await world.clock.run(takeMessage(context, messageOf('cat')))).isNew).toBe(true)
  const { jobs } = assertRowsAgree(batch, world.jobs.rows(batch))
  expect(jobs.map(({ phase }) => phase.kind).sort()).toEqual(['failed', 'slotted'])
})

test('a poisoned message that had been taken in is left alone, and its job gets its turn', async () => {
  const world = newWorld()
  const died = contextIn(world, {
    budgets: { ...contextIn(world).budgets, readTick: async () => new Promise(() => {}) },
  })
  void takeMessage(died, messageOf('cat'))
  await world.clock.runUntil(world.clock.now() + 1_000)
  const taken = await world.clock.run(takePoisoned(contextIn(world), messageOf('cat')))
  expect(taken).toMatchObject({ isNew: false, fault: undefined, job: { key: 'cat' } })
  expect(world.messages.work).toHaveLength(1)
  expect(assertRowsAgree(batch, world.jobs.rows(batch)).jobs).toHaveLength(1)
})

test('a poisoned message that never became a job becomes a failed one', async () => {
  const world = newWorld()
  const taken = await world.clock.run(takePoisoned(contextIn(world), messageOf('cat')))
  expect(taken.job.phase).toMatchObject({ kind: 'failed', failure: { kind: 'invalid', code: 'poisoned' } })
  expect(taken.job.input).toContain('a picture of cat')
  const { jobs } = assertRowsAgree(batch, world.jobs.rows(batch))
  expect(jobs.map(({ key }) => key)).toEqual([taken.job.key])
  expect(taken.job.key).not.toBe('cat')
})

test('a request with an idempotency key makes one job, also across midnight', async () => {
  const world = newWorld(Date.UTC(2026, 0, 5, 23, 59, 59))
  const ask = async (prompt: string, requestId: string) =>
    world.clock.run(
      takeRequest(contextIn(world), {
        text: JSON.stringify({ prompt }),
        idempotencyKey: 'order 66',
        requestId,
        caller: localCaller,
      }),
    )
  const first = await ask('a cat', 'request-1')
  expect(first).toMatchObject({ kind: 'taken', isNew: true, isSame: true })
  await world.clock.runUntil(world.clock.now() + 2_000)
  expect(await ask('a cat', 'request-2')).toMatchObject({ isNew: false, isSame: true })
  expect(await ask('a dog', 'request-3')).toMatchObject({ isNew: false, isSame: false })
  expect(world.jobs.partitions()).toEqual(['inbox-2026-01-05'])
  await world.clock.runUntil(world.clock.now() + 2 * dayMs)
  expect(await ask('a cat', 'request-4')).toMatchObject({ isNew: true })
})

test('a request that is no job makes none', async () => {
  const world = newWorld()
  const asked = {
    text: '{"prompt": ""}',
    idempotencyKey: undefined,
    requestId: 'request-1',
    caller: localCaller,
  }
  const taken = await world.clock.run(takeRequest(contextIn(world), asked))
  expect(taken).toMatchObject({ kind: 'invalid', fault: { param: 'prompt' } })
  expect(world.jobs.partitions()).toEqual([])
})

test('messages that come together open their batch and wake its flow once, and again when that failed', async () => {
  const world = newWorld()
  const context = contextIn(world)
  let opened = 0
  let woken = 0
  const counting = contextIn(world, {
    batches: {
      ...context.batches,
      async openBatch(asked) {
        opened += 1
        if (opened === 1) throw new Error('storage is away')
        return context.batches.openBatch(asked)
      },
    },
    budgets: {
      ...context.budgets,
      async changeFlow(asked) {
        woken += 1
        if (woken === 1) throw new Error('storage is away')
        return context.budgets.changeFlow(asked)
      },
    },
  })
  const take = async (): Promise<readonly PromiseSettledResult<unknown>[]> =>
    world.clock.run(
      Promise.allSettled(
        Array.from({ length: 32 }, async (_, index) => takeMessage(counting, messageOf(`cat-${index}`))),
      ),
    )
  const kinds = (results: readonly PromiseSettledResult<unknown>[]): readonly string[] => [
    ...new Set(results.map(({ status }) => status)),
  ]
  expect(kinds(await take())).toEqual(['rejected'])
  expect([opened, woken]).toEqual([1, 0])
  expect(kinds(await take())).toEqual(['rejected'])
  expect([opened, woken]).toEqual([2, 1])
  expect(kinds(await take())).toEqual(['fulfilled'])
  expect([opened, woken]).toEqual([2, 2])
  expect(assertRowsAgree(batch, world.jobs.rows(batch)).jobs).toHaveLength(32)
})

test('what is asked for over HTTP in a batch that was cancelled a moment ago, elsewhere too, is refused', async () => {
  const world = newWorld()
  const [here, there] = [contextIn(world), contextIn(world)]
  const ask = (customId: string) => {
    const text = JSON.stringify({ prompt: 'a cat', batch, custom_id: customId })
    const asked = { idempotencyKey: undefined, requestId: customId, caller: localCaller }
    return world.clock.run(takeRequest(here, { text, ...asked }))
  }
  expect(await ask('first')).toMatchObject({ kind: 'taken', isNew: true })
  // This instance believes for a while what it has seen of the flow.
  void cancelBatch(there, batch, 'enough')
  await world.clock.runUntil(world.clock.now() + 100)
  expect(await ask('second')).toMatchObject({ kind: 'invalid', fault: { code: 'batch_cancelled' } })
  await world.clock.runUntil(world.clock.now() + 3_600_000)
  expect(await ask('third')).toMatchObject({ kind: 'invalid', fault: { code: 'batch_cancelled' } })
  expect(assertRowsAgree(batch, world.jobs.rows(batch)).jobs).toHaveLength(1)
})

test('the queue keeps out of a key’s batch, and what it rejects there shows nothing to the key', async () => {
  const world = newWorld()
  const context = contextIn(world, { isTenant: (owner) => owner === 'shop' })
  await openBatch(context, { pool: 'pool', batch }, 'shop')
  for (const message of [
    messageOf('cat'),
    { ...messageOf('dog'), text: JSON.stringify({ batch, size: 1 }) },
  ]) {
    const { job, fault } = await world.clock.run(takeMessage(context, message))
    expect(fault).toBeDefined()
    expect(job.batch).toMatch(/^inbox-/)
  }
  expect(assertRowsAgree(batch, world.jobs.rows(batch)).jobs).toEqual([])
})

test('the queue may go on with a batch that an admin’s key has opened', async () => {
  const world = newWorld()
  const context = contextIn(world, { isTenant: (owner) => owner === 'shop' })
  await openBatch(context, { pool: 'pool', batch }, 'ops')
  expect((await world.clock.run(takeMessage(context, messageOf('cat')))).job.batch).toBe(batch)
})
