import { beforeEach, describe, expect, test } from 'vitest'
import { cancelled, claimed, failed, reopened, succeeded } from '../../src/core/jobs/transitions.ts'
import { newJob, type Job } from '../../src/core/jobs/job.ts'
import { failure } from '../../src/core/jobs/failure.ts'
import { limits } from '../../src/core/limits.ts'
import { liveId, placeOf, type LivePlace } from '../../src/core/batches/live.ts'
import { timing } from '../../src/core/timing.ts'
import { plainTerms } from '../../src/core/budget/fairness.ts'
import { followers } from '../../src/pipeline/status/batch-watch.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { liveEvents, type LiveEvent } from '../../src/pipeline/status/live-events.ts'
import { batch, deployment, newWorld, contextIn, type World } from '../support/context.ts'

let world: World
let context: Context

beforeEach(async () => {
  world = newWorld()
  context = contextIn(world)
  const createdAt = world.clock.now()
  const opened = {
    batch,
    pool: 'pool',
    owner: null,
    createdAt,
    terms: plainTerms,
    order: null,
    progress: null,
    workedOnUntil: 0,
  }
  await world.clock.run(context.batches.openBatch(opened))
})

/** A reader that takes all it is given, and what it has got so far. */
type Reader = {
  readonly events: LiveEvent[]
  readonly done: Promise<void>
  leave(): void
  jobs(): string[]
  isDone(): boolean
}

function read(
  query: { after?: LivePlace; isNewOnly?: boolean } = {},
  { by = context, pace = async () => {} }: { by?: Context; pace?: () => Promise<void> } = {},
): Reader {
  const gone = new AbortController()
  const events: LiveEvent[] = []
  const { after, isNewOnly = false } = query
  let isDone = false
  const done = (async () => {
    for await (const each of liveEvents(by, { batch, after, isNewOnly }, gone.signal)) {
      events.push(...each)
      await pace()
    }
    isDone = true
  })()
  return {
    events,
    done,
    leave: () => gone.abort(),
    jobs: () => events.flatMap((event) => (event.kind === 'job' ? [event.job.key] : [])),
    isDone: () => isDone,
  }
}

const kinds = (reader: Reader): string[] => reader.events.map(({ kind }) => kind)
const inSeconds = async (seconds: number) => world.clock.runUntil(world.clock.now() + 1_000 * seconds)
const usage = { inputTokens: 1, outputTokens: 1, inputTextTokens: 1, inputImageTokens: 0 }

function jobNamed(key: string, now = world.clock.now()): Job {
  const fields = { batch, key, pool: 'pool', customId: key, metadata: null, now }
  return newJob({ ...fields, request: { prompt: key }, priority: null, upperMicroUsd: 1 })
}

async function add(...keys: string[]): Promise<void> {
  for (const key of keys) await world.clock.run(context.jobs.add(jobNamed(key)))
}

async function change(key: string, make: (job: Job) => Job): Promise<void> {
  const before = (await context.jobs.get({ batch, key }))!
  await world.clock.run(context.jobs.change(before, make(before.job)))
}

/** Its row may be written later than it finished. */
async function finish(key: string, finishedAt = world.clock.now()): Promise<void> {
  await change(key, (job) => succeeded(job, { finishedAt, images: [], usage, costMicroUsd: 1 })!)
}

async function fail(key: string): Promise<void> {
  const now = world.clock.now()
  await change(key, (job) => ({ ...job, phase: { kind: 'slotted', slotAt: now, isReserved: false } }))
  await change(key, (job) => claimed(job, { slotAt: now, deployment, leaseUntil: now + 90_000 })!)
  await change(key, (job) => failed(job, { finishedAt: now, failure: failure('refused', 'no', 'no') })!)
}

/** The table, as it counts what is asked of it. */
function counting(): { readonly context: Context; reads: number } {
  const counted = {
    reads: 0,
    context: {
      ...context,
      batches: {
        ...context.batches,
        getBatch: async (name: string) => {
          counted.reads += 1
          return context.batches.getBatch(name)
        },
      },
    },
  }
  return counted
}

test('a reader is told counts, each finished job, and the end', async () => {
  await add('a', 'b', 'c', 'd')
  const reader = read()
  await inSeconds(2)
  expect(kinds(reader)).toEqual(['counts'])
  await finish('a')
  await fail('b')
  await inSeconds(2)
  await change('c', (job) => cancelled(job, { finishedAt: world.clock.now() })!)
  await inSeconds(2)
  await finish('d')
  await inSeconds(2)
  await reader.done
  expect(kinds(reader).filter((kind) => kind !== 'counts')).toEqual(['job', 'job', 'job', 'job', 'batch'])
  expect(reader.jobs()).toEqual(['a', 'b', 'c', 'd'])
  expect(
    reader.events.flatMap((event) => (event.kind === 'job' ? [[event.job.kind, event.job.failure]] : [])),
  ).toEqual([
    ['succeeded', null],
    ['failed', 'refused'],
    ['cancelled', null],
    ['succeeded', null],
  ])
  expect(reader.events.at(-1)).toMatchObject({
    kind: 'batch',
    status: { status: 'completed', counts: { succeeded: 2, failed: 1, cancelled: 1 } },
  })
  expect(followers(context)).toBe(0)
})

test('counts come when they change, and once a second at most', async () => {
  await add('a', 'b')
  const reader = read()
  await inSeconds(10)
  expect(kinds(reader)).toEqual(['counts'])
  for (let index = 0; index < 20; index += 1) {
    const added = context.jobs.add(jobNamed(`more-${index}`))
    await inSeconds(0.1)
    await added
  }
  await inSeconds(2)
  expect(kinds(reader).length).toBeLessThanOrEqual(5)
  expect(reader.events.at(-1)).toMatchObject({ kind: 'counts', status: { counts: { total: 22 } } })
  reader.leave()
  await reader.done
})

test('silence is broken every 15 seconds', async () => {
  await add('a')
  const reader = read()
  await inSeconds(61)
  expect(kinds(reader)).toEqual(['counts', 'alive', 'alive', 'alive', 'alive'])
  reader.leave()
  await inSeconds(1)
  expect(reader.isDone()).toBe(true)
})

test('a new reader is told what finished before it came; one that asked for new jobs only is not', async () => {
  await add('a', 'b', 'c')
  await finish('a')
  await inSeconds(3_600)
  const all = read()
  const fresh = read({ isNewOnly: true })
  await inSeconds(2)
  expect(all.jobs()).toEqual(['a'])
  expect(fresh.events).toMatchObject([{ kind: 'counts', place: { at: world.clock.now() - 2_000, key: '' } }])
  await finish('b')
  await finish('c')
  await inSeconds(2)
  expect(all.jobs()).toEqual(['a', 'b', 'c'])
  expect(fresh.jobs()).toEqual(['b', 'c'])
  await Promise.all([all.done, fresh.done])
})

test('a reader of a batch that is over is told all of it, however much, in order and once', async () => {
  const count = 2 * limits.finishedRowsAtOnce + 3
  const keys = Array.from({ length: count }, (_, index) => `job-${String(index).padStart(5, '0')}`)
  await world.clock.run(
    Promise.all(
      keys.map(async (key, index) => {
        const now = world.clock.now() + index
        const job = jobNamed(key, now)
        const done =
          index % 3 === 0
            ? cancelled(job, { finishedAt: now })!
            : succeeded(job, { finishedAt: now, images: [], usage, costMicroUsd: 1 })!
        return context.jobs.add(done)
      }),
    ),
  )
  const reader = read()
  await world.clock.run(reader.done)
  expect(reader.jobs()).toEqual(keys)
  expect(reader.events.at(-1)?.kind).toBe('batch')
})

describe('a reader that comes back', () => {
  test('misses nothing, also what was written late, and knows repeats by their ids', async () => {
    await add('a', 'b', 'c', 'late')
    await finish('a')
    await inSeconds(600)
    const first = read()
    await inSeconds(1)
    const lateAt = world.clock.now()
    await inSeconds(1)
    await finish('b')
    await inSeconds(2)
    first.leave()
    await first.done
    const [last] = first.events.flatMap((event) => (event.kind === 'job' ? [event.job] : [])).slice(-1)
    // While nobody reads, a job that had finished before the last one is written.
    await inSeconds(60)
    await finish('late', lateAt)
    await finish('c')
    const again = read({ after: placeOf(last!) })
    await inSeconds(2)
    await again.done
    expect(again.jobs()).toEqual(['late', 'b', 'c'])
    const ids = [first, again].map(({ events }) =>
      events.flatMap((event) =>
        event.kind === 'job' && event.job.key === 'b' ? [liveId(placeOf(event.job))] : [],
      ),
    )
    expect(ids[0]).toEqual(ids[1])
  })

  test('while it reads, what was written late comes, once', async () => {
    await add('a', 'b', 'c')
    const reader = read()
    await inSeconds(100)
    await finish('a')
    await inSeconds(2)
    // Within the short look back, and then beyond it.
    await finish('b', world.clock.now() - 20_000)
    await inSeconds(2)
    expect(reader.jobs()).toEqual(['a', 'b'])
    await add('open')
    await finish('c', world.clock.now() - 90_000)
    await inSeconds(timing.watchFarMs / 1_000 + 2)
    expect(reader.jobs()).toEqual(['a', 'b', 'c'])
    reader.leave()
    await reader.done
  })

  test('before the end of the batch the late ones are looked for once more', async () => {
    await add('a', 'b')
    const reader = read()
    await inSeconds(40)
    await finish('a', world.clock.now() - 38_000)
    await finish('b')
    await inSeconds(2)
    await reader.done
    expect(reader.jobs().sort()).toEqual(['a', 'b'])
  })

  test('is told a job that failed, was asked for again, and finished', async () => {
    await add('a', 'open')
    const reader = read()
    await inSeconds(2)
    await fail('a')
    await inSeconds(2)
    await change('a', (job) => reopened(job, { now: world.clock.now() })!)
    await finish('a')
    await inSeconds(2)
    expect(reader.jobs()).toEqual(['a', 'a'])
    reader.leave()
    await reader.done
  })
})

describe('many readers', () => {
  test('share one look a second, which ends with the last of them', async () => {
    await add('a')
    const counted = counting()
    const readers = Array.from({ length: 200 }, () => read({}, { by: counted.context }))
    await inSeconds(10)
    expect(counted.reads).toBeLessThanOrEqual(11)
    expect(counted.reads).toBeGreaterThanOrEqual(9)
    expect(followers(context)).toBe(200)
    await finish('a')
    await inSeconds(2)
    expect(readers.every((reader) => reader.isDone())).toBe(true)
    expect(readers.every((reader) => reader.jobs().length === 1)).toBe(true)
    const { reads } = counted
    await inSeconds(60)
    expect(counted.reads).toBe(reads)
    expect(followers(context)).toBe(0)
  })

  test('one that comes while others read gets what came before, and nothing twice', async () => {
    await add('a', 'b', 'c')
    const early = read()
    await inSeconds(2)
    await finish('a')
    await inSeconds(2)
    const late = read()
    await finish('b')
    await inSeconds(3)
    await finish('c')
    await inSeconds(2)
    expect(early.jobs()).toEqual(['a', 'b', 'c'])
    expect(late.jobs()).toEqual(['a', 'b', 'c'])
    await Promise.all([early.done, late.done])
  })

  test('one that stops taking what it is sent does not keep others, and is sent away', async () => {
    await add('open')
    let release = (): void => {}
    const stuck = new Promise<void>((resolve) => (release = resolve))
    const slow = read({}, { pace: async () => stuck })
    const quick = read()
    await inSeconds(2)
    const count = limits.liveLogMax + 10
    for (let from = 0; from < count; from += 1_000) {
      const keys = Array.from({ length: Math.min(1_000, count - from) }, (_, index) => `job-${from + index}`)
      await world.clock.run(
        Promise.all(
          keys.map(async (key) => {
            return context.jobs.add(cancelled(jobNamed(key), { finishedAt: world.clock.now() })!)
          }),
        ),
      )
      await inSeconds(3)
    }
    expect(quick.jobs()).toHaveLength(count)
    expect(slow.jobs()).toEqual([])
    release()
    await inSeconds(1)
    expect(slow.isDone()).toBe(true)
    expect(slow.events.at(-1)?.kind).toBe('pause')
    quick.leave()
    await quick.done
    expect(followers(context)).toBe(0)
  })

  test('one that leaves while it is being sent to is let go at once', async () => {
    await add('a')
    const reader = read({}, { pace: async () => new Promise(() => {}) })
    await inSeconds(2)
    expect(followers(context)).toBe(1)
    reader.leave()
    expect(followers(context)).toBe(0)
    await inSeconds(1)
  })
})

describe('a stream ends, and its reader is to come back,', () => {
  test('before the platform would end it', async () => {
    await add('a')
    const reader = read()
    await inSeconds(timing.liveStreamMs / 1_000 - 1)
    expect(reader.isDone()).toBe(false)
    await inSeconds(2)
    expect(reader.isDone()).toBe(true)
    expect(reader.events.at(-1)?.kind).toBe('pause')
  })

  test('when the instance is asked to stop', async () => {
    await add('a')
    const stopping = new AbortController()
    const reader = read({}, { by: { ...context, stopping: stopping.signal } })
    await inSeconds(2)
    stopping.abort()
    await inSeconds(0.01)
    expect(reader.isDone()).toBe(true)
    expect(reader.events.at(-1)?.kind).toBe('pause')
  })

  test('when storage is away for long, and not for a moment', async () => {
    await add('a')
    let isAway = false
    const getBatch = async (name: string) => {
      if (isAway) throw new Error('away')
      return context.batches.getBatch(name)
    }
    const reader = read({}, { by: { ...context, batches: { ...context.batches, getBatch } } })
    await inSeconds(2)
    isAway = true
    await inSeconds(limits.watchFaultsMax - 2)
    isAway = false
    await finish('a')
    await inSeconds(3)
    expect(reader.jobs()).toEqual(['a'])
    await reader.done

    await add('b')
    isAway = true
    const other = read({}, { by: { ...context, batches: { ...context.batches, getBatch } } })
    await inSeconds(limits.watchFaultsMax + 1)
    expect(other.isDone()).toBe(true)
    expect(kinds(other).at(-1)).toBe('pause')
  })

  test('when storage says nothing at all, be it at the first look or later', async () => {
    await add('a')
    let isSilent = false
    const getBatch = async (name: string) =>
      isSilent ? new Promise<never>(() => {}) : context.batches.getBatch(name)
    const by = { ...context, batches: { ...context.batches, getBatch } }
    const reader = read({}, { by })
    await inSeconds(2)
    isSilent = true
    await inSeconds(timing.watchLookMs / 1_000 - 1)
    expect(reader.isDone()).toBe(false)
    await inSeconds(3)
    expect([reader.isDone(), kinds(reader).at(-1)]).toEqual([true, 'pause'])

    const other = read({}, { by })
    await inSeconds(timing.watchLookMs / 1_000 + 1)
    expect([other.isDone(), kinds(other).at(-1)]).toEqual([true, 'pause'])
    expect(followers(context)).toBe(0)
  })
})
