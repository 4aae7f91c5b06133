import { beforeEach, describe, expect, test } from 'vitest'
import { plainTerms } from '../../../src/core/budget/fairness.ts'
import type { Caller } from '../../../src/core/caller.ts'
import type { BatchProgress } from '../../../src/core/batches/batch-progress.ts'
import { changeBatch, type Changed } from '../../../src/pipeline/batches/change-batch.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { openBatch } from '../../../src/pipeline/intake/known-batch.ts'
import { contextIn, costs, deployment, newWorld, quota, type World } from '../../support/context.ts'

const shop: Caller = { key: 'shop', isAdmin: false, isReadOnly: false }

let world: World
let context: Context

beforeEach(() => {
  world = newWorld()
  const dear = { name: 'dear', quotas: [quota], costs: { ...costs, leastMicroUsd: 50_000 } }
  const plain = contextIn(world)
  context = {
    ...plain,
    pools: [...plain.pools, dear],
    poolOfModel: (model) => (model === 'dear-model' ? 'dear' : plain.poolOfModel(model)),
  }
})

type Asked = { readonly batch: string; readonly model?: string }

async function change(
  asked: Asked,
  changes: Parameters<typeof changeBatch>[2],
  caller?: Caller,
): Promise<Changed> {
  return world.clock.run(changeBatch(context, asked, changes, caller))
}

async function submitted(progress: BatchProgress): Promise<string> {
  const name = 'batch_069a1b2c3d4e5f'
  const order = null
  const facts = {
    batch: name,
    pool: 'pool',
    owner: 'shop',
    createdAt: 0,
    terms: plainTerms,
    workedOnUntil: 0,
  }
  await context.batches.openBatch({ ...facts, order, progress })
  return name
}

test('what is not there yet is opened, in the pool of the model named, and belongs to the caller', async () => {
  const asked = { batch: 'toys', model: 'dear-model' }
  expect(await change(asked, { capMicroUsd: 50_000 }, shop)).toEqual({ kind: 'done' })
  expect(await context.batches.readBatch('toys')).toMatchObject({ pool: 'dear', owner: 'shop' })
  const flow = await context.budgets.readFlow({ pool: 'dear', batch: 'toys' })
  expect(flow?.value.capMicroUsd).toBe(50_000)
  expect(await change({ batch: 'books' }, { priority: 'high' })).toEqual({ kind: 'done' })
  expect(await context.batches.readBatch('books')).toMatchObject({ pool: 'pool', owner: null })
})

describe('a batch stays as it is', () => {
  test('when it is somebody else’s', async () => {
    await openBatch(context, { pool: 'pool', batch: 'toys' }, 'studio')
    expect(await change({ batch: 'toys' }, { priority: 'high' }, shop)).toEqual({ kind: 'unknown-batch' })
    expect(world.budget.rows('pool')).toEqual([])
  })

  test('when somebody else opens it at the same moment', async () => {
    const readBatch = async (batch: string) => {
      const none = await context.batches.readBatch(batch)
      await openBatch(context, { pool: 'pool', batch }, 'studio')
      return none
    }
    const late = { ...context, batches: { ...context.batches, readBatch } }
    const changing = changeBatch(late, { batch: 'toys' }, { priority: 'high' }, shop)
    expect(await world.clock.run(changing)).toEqual({ kind: 'unknown-batch' })
    expect(world.budget.rows('pool')).toEqual([])
  })

  test.each(['batch_069a1b2c3d4e5f', 'inbox-2026-11-23', 'inbox-2026-11-23__studio'])(
    'when it is not there, and has a name that is not the caller’s to give (%s)',
    async (batch) => {
      expect(await change({ batch }, { priority: 'high' }, shop)).toEqual({ kind: 'unknown-batch' })
      expect(world.jobs.partitions()).toEqual([])
    },
  )

  test.each<[BatchProgress, Changed]>([
    [{ kind: 'validating' }, { kind: 'being-checked' }],
    [{ kind: 'failed', failedAt: 0, faults: 1 }, { kind: 'failed-before' }],
  ])('while its file is %j', async (progress, refusal) => {
    const batch = await submitted(progress)
    expect(await change({ batch }, { priority: 'high' }, shop)).toEqual(refusal)
    expect(world.budget.rows('pool')).toEqual([])
  })

  test('when no pool serves the model, and none is opened', async () => {
    expect(await change({ batch: 'toys', model: 'none' }, { priority: 'high' })).toEqual({
      kind: 'unknown-model',
    })
    expect(world.jobs.partitions()).toEqual([])
  })

  test('when it belongs to another pool than that of the model', async () => {
    await openBatch(context, { pool: 'pool', batch: 'toys' })
    const refusal = { kind: 'other-pool', pool: 'pool' }
    for (const model of ['dear-model', 'none']) {
      expect(await change({ batch: 'toys', model }, { priority: 'high' })).toEqual(refusal)
    }
    expect(await change({ batch: 'toys', model: deployment }, { priority: 'high' })).toEqual({ kind: 'done' })
  })

  test('when its cap would be less than the cheapest call of its own pool', async () => {
    await openBatch(context, { pool: 'dear', batch: 'toys' })
    const capped = async (capMicroUsd: number | null) => change({ batch: 'toys' }, { capMicroUsd })
    expect(await capped(49_999)).toEqual({ kind: 'cap-too-low', leastMicroUsd: 50_000 })
    expect(world.budget.rows('dear')).toEqual([])
    expect(await capped(50_000)).toEqual({ kind: 'done' })
    expect(await capped(null)).toEqual({ kind: 'done' })
  })
})
