import { beforeEach, describe, expect, test } from 'vitest'
import { localCaller } from '../../../src/core/caller.ts'
import { stopped } from '../../../src/core/budget/ledger.ts'
import { limits } from '../../../src/core/limits.ts'
import { timing } from '../../../src/core/timing.ts'
import { cancelBatch, pauseBatch } from '../../../src/pipeline/batches/batches.ts'
import { cancelJob } from '../../../src/pipeline/running/cancel-job.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { changeLedger } from '../../../src/pipeline/pacing/ledgers.ts'
import {
  endOfSyncCall,
  takePlace,
  takeSyncCall,
  type SyncCall,
  type SyncEnd,
  type SyncWait,
  type TakenCall,
} from '../../../src/pipeline/running/sync-call.ts'
import { rescue } from '../../../src/pipeline/running/rescue.ts'
import { batchStatus } from '../../../src/pipeline/status/status.ts'
import { costs, deployment, newWorld, quota, contextIn, type World } from '../../support/context.ts'
import { fails, scriptedModel } from '../../support/scripted-model.ts'
import { play, takeMany } from '../play.ts'

const startAt = Date.UTC(2026, 10, 23, 12)
const day = 'sync-2026-11-23'

let world: World
let context: Context

beforeEach(() => {
  world = newWorld(startAt)
  context = contextIn(world)
})

let requests = 0

type Whole = SyncCall & SyncWait

/** As the handler does it. */
async function syncCall(
  place: Context,
  { gone, ...call }: Whole,
): Promise<SyncEnd | Exclude<TakenCall, { kind: 'taken' }>> {
  const taken = await takeSyncCall(place, call)
  const { arrivedAt } = call
  return taken.kind === 'taken' ? endOfSyncCall(place, taken, { arrivedAt, gone }) : taken
}

function callOf(prompt: string, own: Partial<Whole> = {}): Whole {
  const request = { prompt }
  return {
    submission: { pool: 'pool', customId: null, batch: null, priority: 'high', request, metadata: null },
    idempotencyKey: undefined,
    requestId: `request-${(requests += 1)}`,
    caller: localCaller,
    arrivedAt: world.clock.now(),
    gone: undefined,
    ...own,
  }
}

/** How the call ended, and how long after it came. */
async function ended<End extends object>(
  work: Promise<End>,
  withinMs = 300_000,
): Promise<End & { readonly tookMs: number }> {
  const from = world.clock.now()
  const end = work.then((done) => ({ ...done, tookMs: world.clock.now() - from }))
  await play(world, [context], from + withinMs)
  return end
}

describe('a call', () => {
  test('gets its images some seconds after its turn, and goes before batches', async () => {
    await takeMany(world, context, { count: 500, name: 'backlog' })
    const end = await ended(syncCall(context, callOf('a fox')))
    expect(end).toMatchObject({ kind: 'finished', isNew: true, job: { batch: day, priority: 'high' } })
    if (end.kind !== 'finished') return
    expect(end.job.phase).toMatchObject({
      kind: 'succeeded',
      images: [{ blob: expect.any(String) as unknown }],
    })
    // Two ticks to its slot, and the call.
    expect(end.tookMs).toBeLessThan(20_000 + 20_000)
  })

  test.each([
    ['refused', 'moderation_blocked'],
    ['invalid', 'invalid_value'],
  ] as const)('that is %s ends as failed, at once', async (kind, code) => {
    world.model.script.push(fails(kind, { code }))
    const end = await ended(syncCall(context, callOf('a fox')))
    expect(end).toMatchObject({
      kind: 'finished',
      job: { phase: { kind: 'failed', failure: { kind, code } } },
    })
  })

  test('that fails in passing is tried again while there is time', async () => {
    world.model.script.push(fails('transient'))
    const end = await ended(syncCall(context, callOf('a fox')))
    expect(end).toMatchObject({ kind: 'finished', job: { attempts: 2, phase: { kind: 'succeeded' } } })
  })

  test('that is cancelled by somebody ends as cancelled', async () => {
    const work = syncCall(context, callOf('a fox', { requestId: 'mine' }))
    world.clock.at(startAt + 100, () => void cancelJob(context, { batch: day, key: 'msg~mine' }))
    expect(await ended(work)).toMatchObject({ kind: 'finished', job: { phase: { kind: 'cancelled' } } })
  })
})

describe('a turn too far away', () => {
  test('is taken back at once, and says when a call would be worth it', async () => {
    await served('first')
    await changeLedgerTo((ledger) => ({ ...ledger, pausedUntil: world.clock.now() + 1_000_000 }))
    const end = await ended(syncCall(context, callOf('a fox')))
    if (end.kind !== 'busy') throw new Error(`it ended as ${end.kind}`)
    expect(end.tookMs).toBeLessThan(1_000)
    expect(Math.abs(end.retryAfterMs - 800_000)).toBeLessThan(5_000)
    expect(await counts()).toMatchObject({ total: 2, succeeded: 1, cancelled: 1 })
    expect(world.model.calls).toHaveLength(1)
  })

  test('behind others is told to those whom it meets; all others are served in time', async () => {
    context = contextIn(world, { pools: [{ name: 'pool', quotas: [{ ...quota, rpm: 6 }], costs }] })
    const works = Array.from({ length: 30 }, async (_, index) => syncCall(context, callOf(`fox ${index}`)))
    const ends = await Promise.all(works.map(async (work) => ended(work)))
    const served = ends.filter(({ kind }) => kind === 'finished')
    const sentAway = ends.filter(({ kind }) => kind === 'busy')
    expect(served.length + sentAway.length).toBe(30)
    expect(served.length).toBeGreaterThanOrEqual(18)
    expect(served.length).toBeLessThanOrEqual(21)
    for (const { tookMs } of served) expect(tookMs).toBeLessThanOrEqual(timing.syncTotalMs)
    for (const { tookMs } of sentAway) expect(tookMs).toBeLessThan(30_000)
    expect(await counts()).toMatchObject({ total: 30, succeeded: served.length, cancelled: sentAway.length })
  })

  test('that moves away while it is waited for is noticed', async () => {
    await served('first')
    const from = world.clock.now()
    await changeLedgerTo((ledger) => ({ ...ledger, pausedUntil: from + 100_000 }))
    const work = syncCall(context, callOf('a fox'))
    world.clock.at(from + 50_000, () => {
      void changeLedgerTo((ledger) => ({ ...ledger, pausedUntil: from + 900_000 }))
    })
    const end = await ended(work)
    expect(end.kind).toBe('busy')
    expect(end.tookMs).toBeGreaterThan(50_000)
    expect(end.tookMs).toBeLessThan(50_000 + 2 * timing.syncLookMs)
    expect(await counts()).toMatchObject({ cancelled: 1, waiting: 0 })
  })
})

describe('at the end of the time', () => {
  test('a call that is under way goes on', async () => {
    context = contextIn(world, { model: scriptedModel(world.clock, 400_000) })
    const end = await ended(syncCall(context, callOf('a fox')))
    expect(end).toMatchObject({ kind: 'running', job: { phase: { kind: 'running' } } })
    expect(end.tookMs).toBe(timing.syncTotalMs)
    await play(world, [context], world.clock.now() + 300_000)
    expect(await counts()).toMatchObject({ total: 1, succeeded: 1 })
  })

  test('what the request took to come counts as well', async () => {
    const arrivedAt = world.clock.now() - 215_000
    const end = await ended(syncCall(context, callOf('a fox', { arrivedAt })))
    expect(end.kind).toBe('running')
    expect(end.tookMs).toBe(5_000)
  })

  test('one that still waits is taken back', async () => {
    const arrivedAt = world.clock.now() - timing.syncTotalMs
    expect(await ended(syncCall(context, callOf('a fox', { arrivedAt })))).toMatchObject({
      kind: 'busy',
      tookMs: timing.intakeMayWaitMs,
    })
    expect(await counts()).toMatchObject({ total: 1, cancelled: 1 })
  })
})

describe('storage that fails', () => {
  const away = async (): Promise<never> => Promise.reject(new Error('503'))

  /** The room, whose storage fails on some of what is asked of it from a time on. */
  function faulty(fails: (keyof Context['jobs'])[], from: number, until = Infinity): Context {
    const isAway = () => world.clock.now() >= from && world.clock.now() < until
    const wrapped = Object.fromEntries(
      fails.map((name) => {
        const real: (...given: any[]) => Promise<any> = context.jobs[name]
        return [name, async (...given: any[]) => (isAway() ? away() : real(...given))]
      }),
    )
    return { ...context, jobs: { ...context.jobs, ...wrapped } }
  }

  test('for a while, when its job is looked at, changes nothing', async () => {
    const place = faulty(['get', 'countBefore', 'change'], startAt + 500, startAt + 30_000)
    const end = await ended(syncCall(place, callOf('a fox')))
    expect(end).toMatchObject({ kind: 'finished', job: { phase: { kind: 'succeeded' } } })
    expect(await counts()).toMatchObject({ total: 1, succeeded: 1 })
    expect(world.model.calls).toHaveLength(1)
  })

  test('to the end of the time leaves a job that is not called afterwards', async () => {
    await served('first')
    await changeLedgerTo((ledger) => ({ ...ledger, pausedUntil: world.clock.now() + 400_000 }))
    const from = world.clock.now()
    const end = await ended(syncCall(faulty(['get', 'countBefore'], from), callOf('a fox')), 900_000)
    expect(end.kind).toBe('unsure')
    expect(end.tookMs).toBeLessThan(timing.syncTotalMs + 10_000)
    expect(await counts()).toMatchObject({ total: 2, succeeded: 1, cancelled: 1 })
    expect(world.model.calls).toHaveLength(1)
  })

  test('when the job was written, but the pacer could not be told, takes it back', async () => {
    const error = new Error('503')
    const place = { ...context, budgets: { ...context.budgets, readTick: async () => Promise.reject(error) } }
    const work = syncCall(place, callOf('a fox')).catch((thrown: unknown) => ({ kind: 'thrown', thrown }))
    expect(await ended(work)).toMatchObject({ kind: 'thrown', thrown: error })
    expect(await counts()).toMatchObject({ total: 1, cancelled: 1 })
  })

  test('all along, says that nobody knows', async () => {
    const place = faulty(['add', 'get'], startAt)
    const end = await ended(syncCall(place, callOf('a fox', { requestId: 'mine' })))
    expect(end).toMatchObject({ kind: 'unsure', job: { batch: day, key: 'msg~mine' } })
  })

  test('with an Idempotency-Key passes up: the same key meets the same job', async () => {
    const place = faulty(['add'], startAt)
    const work = syncCall(place, callOf('a fox', { idempotencyKey: 'order 17' })).catch(() => ({
      kind: 'thrown',
    }))
    expect(await ended(work)).toMatchObject({ kind: 'thrown' })
  })
})

describe('an instance that dies while a sender waits', () => {
  const reason = expect.stringContaining('nobody waited') as unknown

  test('leaves a job that is called in its time, but no later', async () => {
    await served('first')
    const taken = await world.clock.run(takeSyncCall(context, callOf('a fox')))
    if (taken.kind !== 'taken') throw new Error(taken.kind)
    await changeLedgerTo((ledger) => ({ ...ledger, pausedUntil: world.clock.now() + 400_000 }))
    await play(world, [context], world.clock.now() + 900_000)
    expect((await context.jobs.get(taken.job))?.job.phase).toMatchObject({ kind: 'cancelled', reason })
    expect(world.model.calls).toHaveLength(1)
  })

  test('leaves a job that is found while all starts are paused', async () => {
    await served('first')
    await changeLedgerTo((ledger) => ({ ...ledger, pausedUntil: world.clock.now() + 40_000_000 }))
    const taken = await world.clock.run(takeSyncCall(context, callOf('a fox')))
    if (taken.kind !== 'taken') throw new Error(taken.kind)
    await world.clock.runUntil(world.clock.now() + timing.syncTotalMs - 1_000)
    expect((await world.clock.run(rescue(context))).givenUp).toBe(0)
    await world.clock.runUntil(world.clock.now() + 2_000)
    expect((await world.clock.run(rescue(context))).givenUp).toBe(1)
    expect((await context.jobs.get(taken.job))?.job.phase).toMatchObject({ kind: 'cancelled', reason })
  })

  test('is of no matter to jobs that nobody waits for', async () => {
    await takeMany(world, context, { count: 1, name: day })
    await world.clock.runUntil(world.clock.now() + 2 * timing.syncTotalMs)
    expect((await world.clock.run(rescue(context))).givenUp).toBe(0)
  })
})

test('a call that comes back to wait is told of a pause as soon as it is back', async () => {
  await served('first')
  world.model.script.push(fails('throttled', { retryAfterMs: 1_000 }))
  // While its call is under way.
  const pausedUntil = world.clock.now() + 1_000_000
  world.clock.at(
    world.clock.now() + 16_500,
    () => void changeLedgerTo((ledger) => ({ ...ledger, pausedUntil })),
  )
  const end = await ended(syncCall(context, callOf('a fox')))
  expect(end.kind).toBe('busy')
  // Its slot, and its call of 20 s.
  expect(end.tookMs).toBeLessThan(24_000)
})

describe('where nothing starts', () => {
  test('because the deployment is stopped, the reason is told', async () => {
    await served('first')
    const stop = { deployment, slotAt: 0, now: world.clock.now(), code: '401', message: 'the key is wrong' }
    await changeLedgerTo((ledger) => stopped(ledger, stop))
    expect(await ended(syncCall(context, callOf('a fox')))).toMatchObject({
      kind: 'stopped',
      why: `nothing starts but probes: ${deployment}: 401: the key is wrong`,
    })
    expect(await counts()).toMatchObject({ cancelled: 1, waiting: 0 })
  })

  test('because the calls of the day are paused, the reason is told', async () => {
    await served('first')
    await world.clock.run(pauseBatch(context, day, 'lunch'))
    expect(await ended(syncCall(context, callOf('a wolf')))).toMatchObject({
      kind: 'stopped',
      why: `batch ${day} is paused: lunch`,
    })
  })

  test('because they were cancelled, the call is refused', async () => {
    const waiting = syncCall(context, callOf('a fox'))
    world.clock.at(startAt + 1_000, () => void cancelBatch(context, day, 'enough'))
    expect(await ended(waiting)).toMatchObject({ kind: 'finished', job: { phase: { kind: 'cancelled' } } })
    expect(await ended(syncCall(context, callOf('a wolf')))).toMatchObject({
      kind: 'invalid',
      fault: { code: 'batch_cancelled' },
    })
  })
})

describe('a sender that leaves', () => {
  test('while it waits is not called for', async () => {
    const gone = new AbortController()
    const work = syncCall(context, callOf('a fox', { gone: gone.signal }))
    world.clock.at(startAt + 500, () => gone.abort())
    expect(await ended(work)).toMatchObject({ kind: 'left', tookMs: 500 })
    expect(await counts()).toMatchObject({ total: 1, cancelled: 1 })
    expect(world.model.calls).toEqual([])
  })

  test('while its call is under way leaves it to its end', async () => {
    const gone = new AbortController()
    const work = syncCall(context, callOf('a fox', { gone: gone.signal }))
    world.clock.at(startAt + 10_000, () => gone.abort())
    expect(await ended(work)).toMatchObject({ kind: 'left', tookMs: 10_000 })
    expect(await counts()).toMatchObject({ total: 1, succeeded: 1 })
  })
})

describe('the same Idempotency-Key', () => {
  const key = { idempotencyKey: 'order 17' }

  test('makes one call, and answers it to each', async () => {
    const gone = new AbortController()
    const first = syncCall(context, callOf('a fox', key))
    const second = syncCall(context, callOf('a fox', key))
    const third = syncCall(context, callOf('a fox', { ...key, gone: gone.signal }))
    // Who did not send it first does not take it back.
    world.clock.at(startAt + 1_000, () => gone.abort())
    const [a, b, c] = await Promise.all([ended(first), ended(second), ended(third)])
    expect([a, b].map(({ kind }) => kind)).toEqual(['finished', 'finished'])
    expect([a, b].filter((end) => end.kind === 'finished' && end.isNew)).toHaveLength(1)
    expect(c.kind).toBe('left')
    expect(world.model.calls).toHaveLength(1)
    expect(await ended(syncCall(context, callOf('a fox', key)))).toMatchObject({
      kind: 'finished',
      isNew: false,
      tookMs: timing.intakeMayWaitMs,
    })
    expect(await ended(syncCall(context, callOf('a wolf', key)))).toMatchObject({ kind: 'conflict' })
    expect(await counts()).toMatchObject({ total: 1, succeeded: 1 })
  })

  test('gets a call of its own after one that was taken back, each time', async () => {
    const arrivedAt = startAt - timing.syncTotalMs
    for (let tries = 0; tries < 3; tries += 1) {
      expect(await ended(syncCall(context, callOf('a fox', { ...key, arrivedAt })))).toMatchObject({
        kind: 'busy',
      })
    }
    expect(await ended(syncCall(context, callOf('a fox', key)))).toMatchObject({
      kind: 'finished',
      isNew: true,
    })
    expect(await counts()).toMatchObject({ total: 4, succeeded: 1, cancelled: 3 })
  })
})

test('an instance takes so many calls at once, and another when one of them is over', () => {
  const places = Array.from({ length: limits.syncCallsMax }, () => takePlace(context))
  expect(places).not.toContain(undefined)
  expect(takePlace(context)).toBeUndefined()
  places[0]?.()
  expect(takePlace(context)).toBeDefined()
  expect(takePlace(context)).toBeUndefined()
})

/** A call that has got its images: the pool's ledger stands since. */
async function served(prompt: string): Promise<void> {
  expect(await ended(syncCall(context, callOf(prompt)), 60_000)).toMatchObject({ kind: 'finished' })
}

async function changeLedgerTo(change: Parameters<typeof changeLedger>[2]): Promise<void> {
  await changeLedger(context, { pool: 'pool', quota: quota.quota }, change)
}

async function counts() {
  return (await batchStatus(context, day))?.counts
}
