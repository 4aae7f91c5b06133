import * as fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { committedMicroUsd } from '../../src/core/jobs/counters.ts'
import { failure, failureKinds } from '../../src/core/jobs/failure.ts'
import {
  cancelled,
  claimed,
  failed,
  retried,
  snoozed,
  succeeded,
  unslotted,
} from '../../src/core/jobs/transitions.ts'
import type { Job } from '../../src/core/jobs/job.ts'
import { limits } from '../../src/core/limits.ts'
import { chanceFrom } from '../../src/local/deployment/chance.ts'
import type { JobTable, SlotGrant, SlotsGiven } from '../../src/ports/jobs.ts'
import { readCounters } from '../../src/storage/tables/job-rows.ts'
import type { Entity, Table } from '../../src/storage/tables/table.ts'
import { losingAnswers, type LostAnswer } from '../support/lost-answers.ts'
import { memoryTable } from '../support/memory-table.ts'
import { contentIn, grantOf, image, jobOf, jobsOn, jobsOnShard, makeRunning, now, usage } from './jobs.ts'
import { stores, uniqueName } from './stores.ts'

/** Law 5: what a batch has spent, may have spent and is about to spend never exceeds its cap. */
function assertWithinCap(counts: readonly Entity[], capMicroUsd: number): void {
  const committed = counts.reduce((total, row) => total + committedMicroUsd(readCounters(row)), 0)
  expect(committed, 'what the batch is committed to').toBeLessThanOrEqual(capMicroUsd)
}

const capMicroUsd = 100_000

describe.each(stores)('a cap in $name', ({ name, makeTable }) => {
  let table: Table
  let jobs: JobTable
  beforeAll(async () => {
    table = await makeTable()
    jobs = jobsOn(table)
  })

  async function addMany(batch: string, count: number, upperMicroUsd = 10_000): Promise<SlotGrant[]> {
    const many = Array.from({ length: count }, (_, index) =>
      jobOf(batch, `line-${String(index).padStart(3, '0')}`, { upperMicroUsd }),
    )
    await Promise.all(many.map(async (job) => jobs.add(job)))
    return many.map((job, index) => grantOf(job, now + index))
  }

  const keysOf = ({ granted }: SlotsGiven): readonly string[] => granted.map(({ key }) => key)

  test('lets through what it has room for, in order, and says that it kept the others back', async () => {
    const batch = uniqueName('batch')
    const grants = await addMany(batch, 12)
    const given = await jobs.slot({ grants, capMicroUsd })
    expect(given).toEqual({ granted: grants.slice(0, 10), isCapReached: true })
    const { jobs: stored, counters } = await contentIn(table, batch)
    expect(counters).toMatchObject({ waiting: 12, reservedMicroUsd: 100_000 })
    const reserved = { kind: 'slotted', slotAt: now, isReserved: true }
    expect(stored.find(({ key }) => key === 'line-000')?.phase).toEqual(reserved)
    expect(stored.filter(({ phase }) => phase.kind === 'waiting')).toHaveLength(2)
    const again = await jobs.slot({ grants: grants.slice(10), capMicroUsd })
    expect(again).toEqual({ granted: [], isCapReached: true })
  })

  test('that nothing comes near is not reached, nor by a job that somebody else has moved', async () => {
    const batch = uniqueName('batch')
    const grants = await addMany(batch, 10)
    expect(await jobs.slot({ grants, capMicroUsd })).toEqual({ granted: grants, isCapReached: false })
    const other = jobsOn(table, 'other')
    const roomier = capMicroUsd + 10_000
    const again = await other.slot({ grants: grants.slice(0, 1), capMicroUsd: roomier })
    expect(again).toEqual({ granted: [], isCapReached: false })
    expect((await contentIn(table, batch)).counters.reservedMicroUsd).toBe(100_000)
  })

  test('lets a cheaper job through where a dearer one has no room', async () => {
    const batch = uniqueName('batch')
    const made = [60_000, 50_000, 40_000].map((upperMicroUsd, i) => jobOf(batch, `${i}`, { upperMicroUsd }))
    for (const job of made) await jobs.add(job)
    const given = await jobs.slot({ grants: made.map((job) => grantOf(job)), capMicroUsd })
    expect(given.isCapReached).toBe(true)
    expect(keysOf(given)).toEqual(['0', '2'])
    await contentIn(table, batch)
  })

  test('has room again for what calls cost less, what came to nothing and what was given back', async () => {
    const batch = uniqueName('batch')
    const grants = await addMany(batch, 20)
    await jobs.slot({ grants, capMicroUsd })
    const changes: readonly ((job: Job) => Job | undefined)[] = [
      (job) => succeeded(job, { finishedAt: now, images: [image], usage, costMicroUsd: 2_500 }),
      (job) => failed(job, { finishedAt: now, failure: failure('invalid', 'x', 'y') }),
      (job) => failed(job, { finishedAt: now, failure: failure('refused', 'x', 'y') }),
      (job) => retried(job, { dueAt: now + 60_000, possiblyPaid: true }),
      (job) => retried(job, { dueAt: now + 60_000, possiblyPaid: false }),
      (job) => snoozed(job),
    ]
    for (const [index, change] of changes.entries()) {
      const before = (await jobs.get(grants[index]!))!
      const claim = claimed(before.job, { slotAt: now, deployment: 'gpt-image-1', leaseUntil: now + 1 })!
      const running = (await jobs.change(before, claim))!
      await jobsOnShard(table, index % limits.countShards, limits.countShards).change(running, change(claim)!)
    }
    for (const [index, change] of [unslotted, (job: Job) => cancelled(job, { finishedAt: now })].entries()) {
      const before = (await jobs.get(grants[changes.length + index]!))!
      await jobs.change(before, change(before.job)!)
    }
    // Two hold their slots still; of the others 2.5 + 10 + 10 thousandths are spent, or may be.
    const { counters } = await contentIn(table, batch)
    expect(counters).toMatchObject({ spentMicroUsd: 2_500, unsureMicroUsd: 20_000, reservedMicroUsd: 20_000 })
    const given = await jobs.slot({ grants: grants.slice(10), capMicroUsd })
    expect(given).toEqual({ granted: grants.slice(10, 15), isCapReached: true })
    await contentIn(table, batch)
  })

  test('stands above a call under way whose slot was given without it', async () => {
    const batch = uniqueName('batch')
    const running = await makeRunning(jobs, jobOf(batch, 'running', { upperMicroUsd: 95_000 }))
    const [grant] = await addMany(batch, 1)
    const { granted, isCapReached } = await jobs.slot({ grants: [grant!], capMicroUsd })
    expect([granted, isCapReached]).toEqual([[], true])
    const done = succeeded(running.job, { finishedAt: now, images: [image], usage, costMicroUsd: 90_000 })!
    await jobs.change(running, done)
    expect(await jobs.slot({ grants: [grant!], capMicroUsd })).toMatchObject({ granted: [grant] })
    await contentIn(table, batch)
  })

  test('that was lowered lets nothing more through, and takes nothing back', async () => {
    const batch = uniqueName('batch')
    const grants = await addMany(batch, 6)
    await jobs.slot({ grants: grants.slice(0, 5), capMicroUsd })
    const given = await jobs.slot({ grants: grants.slice(5), capMicroUsd: 20_000 })
    expect(given).toEqual({ granted: [], isCapReached: true })
    expect((await contentIn(table, batch)).counters.reservedMicroUsd).toBe(50_000)
    expect(await jobs.slot({ grants: grants.slice(5), capMicroUsd: 60_000 })).toMatchObject({
      isCapReached: false,
    })
  })

  test('has room again for what others gave back, though this instance has counted there before', async () => {
    const batch = uniqueName('batch')
    const grants = await addMany(batch, 12)
    const pacer = jobsOn(table, 'pacer')
    expect(await pacer.slot({ grants, capMicroUsd })).toMatchObject({ isCapReached: true })
    // The worker's instance has settled on the very row of counters that the cap is kept in.
    const worker = jobsOnShard(table, 0, limits.countShards)
    for (const grant of grants.slice(0, 2)) {
      const before = (await worker.get(grant))!
      await worker.change(before, unslotted(before.job)!)
    }
    const given = await pacer.slot({ grants: grants.slice(10), capMicroUsd })
    expect(given).toEqual({ granted: grants.slice(10), isCapReached: false })
    await contentIn(table, batch)
  })

  test('holds for two pacers that give slots at once, and leaves no room unused', async () => {
    const batch = uniqueName('batch')
    const grants = await addMany(batch, 40)
    const given = await Promise.all(
      [0, 1, 2].map(async (nth) =>
        jobsOn(table, 'pacer', `${nth}`).slot({
          grants: grants.filter((_, index) => index % 3 === nth),
          capMicroUsd,
        }),
      ),
    )
    expect(given.flatMap(({ granted }) => granted)).toHaveLength(10)
    expect(given.map(({ isCapReached }) => isCapReached)).toEqual([true, true, true])
    expect((await contentIn(table, batch)).counters.reservedMicroUsd).toBe(100_000)
  })

  test('costs a job that costs nothing no room', async () => {
    const batch = uniqueName('batch')
    const free = jobOf(batch, 'free', { upperMicroUsd: 0 })
    const grants = [...(await addMany(batch, 10)), grantOf(free)]
    await jobs.add(free)
    expect(await jobs.slot({ grants, capMicroUsd })).toEqual({ granted: grants, isCapReached: false })
    await contentIn(table, batch)
  })

  describe('when the answer of a transaction is lost', () => {
    /** Loses the answer of the first transaction that gives more than one slot. */
    function losing(how: LostAnswer, store = table): JobTable {
      let isNext = true
      const lossy: Table = {
        ...store,
        async transact(partition, writes) {
          const slots = writes.filter(({ row }) => row.startsWith('slot:')).length
          const isLost = isNext && slots > 1
          if (isLost) isNext = false
          return losingAnswers(store, () => (isLost ? how : undefined)).transact(partition, writes)
        },
      }
      return jobsOn(lossy, 'losing')
    }

    test('and it is sent again, each slot that was given counts as given', async () => {
      const batch = uniqueName('batch')
      const grants = await addMany(batch, 12)
      const given = await losing('sent-again').slot({ grants, capMicroUsd })
      expect(given).toEqual({ granted: grants.slice(0, 10), isCapReached: true })
      expect((await contentIn(table, batch)).counters.reservedMicroUsd).toBe(100_000)
    })

    test('and it is sent again, a cap that is not reached is not said to be', async () => {
      const batch = uniqueName('batch')
      const grants = await addMany(batch, 10)
      const given = await losing('sent-again').slot({ grants, capMicroUsd })
      expect(given).toEqual({ granted: grants, isCapReached: false })
    })

    test('and the store does not say which write was in the way, each slot that was given counts as given', async () => {
      const batch = uniqueName('batch')
      const silent: Table = {
        ...table,
        async transact(partition, writes) {
          const result = await table.transact(partition, writes)
          return result.kind === 'conflict' ? { kind: 'conflict', conflictAt: undefined } : result
        },
      }
      const grants = await addMany(batch, 12)
      const given = await losing('sent-again', silent).slot({ grants, capMicroUsd })
      expect(given).toEqual({ granted: grants.slice(0, 10), isCapReached: true })
      expect((await contentIn(table, batch)).counters.reservedMicroUsd).toBe(100_000)
    })

    test('and the caller sees it fail, what was reserved is known to the next', async () => {
      const batch = uniqueName('batch')
      const grants = await addMany(batch, 12)
      const instance = losing('throws')
      await expect(instance.slot({ grants, capMicroUsd })).rejects.toThrow('the answer was lost')
      expect((await contentIn(table, batch)).counters.reservedMicroUsd).toBe(100_000)
      expect(await instance.slot({ grants: grants.slice(10), capMicroUsd })).toEqual({
        granted: [],
        isCapReached: true,
      })
    })
  })

  test('holds whatever happens on two instances at once', async () => {
    await fc.assert(
      fc.asyncProperty(roundsArbitrary, fc.nat(), async (rounds, seed) => {
        const play = await startPlay(table, seed)
        for (const round of rounds) {
          await play.together(round)
          const { counters } = await contentIn(table, play.batch)
          expect(committedMicroUsd(counters)).toBeLessThanOrEqual(capMicroUsd)
        }
        await play.assertRoomIsUsed()
      }),
      name === 'memory' ? { numRuns: 150 } : { numRuns: 6, endOnFailure: true },
    )
  }, 120_000)
})

test('a cap holds at every moment, with answers lost and delays anywhere', async () => {
  await fc.assert(
    fc.asyncProperty(roundsArbitrary, fc.nat(), async (rounds, seed) => {
      const chance = chanceFrom('delays', seed)
      const table = memoryTable((partition) => {
        const counts = table.rows(partition).filter(({ row }) => row.startsWith('count:'))
        assertWithinCap(counts, capMicroUsd)
      })
      const lossy = losingAnswers(slowed(table, chance), () => {
        const draw = chance()
        return draw < 0.05 ? 'throws' : draw < 0.15 ? 'sent-again' : undefined
      })
      const play = await startPlay(lossy, seed)
      for (const round of rounds) await play.together(round)
      await contentIn(table, play.batch)
    }),
    { numRuns: 200 },
  )
})

/** Each request takes a while of its own, so that those of two instances come in any order. */
function slowed(table: Table, chance: () => number): Table {
  const wait = async (): Promise<void> => {
    for (let turns = Math.floor(chance() * 12); turns > 0; turns -= 1) await Promise.resolve()
  }
  const late =
    <In extends unknown[], Out>(act: (...all: In) => Promise<Out>) =>
    async (...all: In): Promise<Out> => {
      await wait()
      const answer = await act(...all)
      await wait()
      return answer
    }
  return {
    get: late(async (ref) => table.get(ref)),
    range: late(async (query) => table.range(query)),
    transact: late(async (partition, writes) => table.transact(partition, writes)),
    remove: late(async (ref) => table.remove(ref)),
  }
}

type Op = { readonly act: keyof typeof acts; readonly on: 0 | 1; readonly pick: number }

/** What two instances do at once, again and again. */
const roundsArbitrary = fc.array(
  fc.array(
    fc.record<Op>({
      act: fc.oneof(
        { weight: 4, arbitrary: fc.constant('slot' as const) },
        { weight: 3, arbitrary: fc.constant('claim' as const) },
        {
          weight: 6,
          arbitrary: fc.constantFrom<Op['act'][]>('succeed', 'fail', 'retry', 'snooze', 'unslot', 'cancel'),
        },
        { weight: 1, arbitrary: fc.constantFrom<Op['act'][]>('cancelQueued', 'add') },
      ),
      on: fc.constantFrom<(0 | 1)[]>(0, 1),
      pick: fc.nat(999),
    }),
    { minLength: 1, maxLength: 6 },
  ),
  { minLength: 4, maxLength: 14, size: 'max' },
)

type Play = {
  readonly batch: string
  readonly jobs: JobTable
  readonly pick: number
  readonly nextKey: () => string
}

/** Each looks at what is there, and does what it can; that somebody was faster is no fault. */
const acts = {
  async slot({ jobs, batch, pick }: Play) {
    const waiting = await jobs.firstWaiting({ batch, limit: 1 + (pick % 9) })
    const place = { slotAt: now + pick, quota: 'east', deployment: 'gpt-image-1' }
    await jobs.slot({ grants: waiting.map((job) => ({ ...job, ...place })), capMicroUsd })
  },
  claim: changing('slotted', (job) =>
    claimed(job, { slotAt: now, deployment: 'gpt-image-1', leaseUntil: now + 90_000 }),
  ),
  succeed: changing('any', (job, pick) => {
    // Of a job that waits only a call that a rescue has given up can be answered.
    if (job.phase.kind !== 'running' && job.possiblyRepeated === 0) return undefined
    const costMicroUsd = Math.round((job.upperMicroUsd * pick) / 999)
    return succeeded(job, { finishedAt: now, images: [image], usage, costMicroUsd })
  }),
  fail: changing('running', (job, pick) => {
    const kind = failureKinds[pick % failureKinds.length]!
    return failed(job, { finishedAt: now, failure: failure(kind, 'x', 'y') })
  }),
  retry: changing('running', (job, pick) =>
    retried(job, { dueAt: now + pick, possiblyPaid: pick % 2 === 0 }),
  ),
  snooze: changing('running', (job) => snoozed(job)),
  unslot: changing('slotted', unslotted),
  cancel: changing('any', (job, pick) => (pick % 3 === 0 ? cancelled(job, { finishedAt: now }) : undefined)),
  async cancelQueued({ jobs, batch, pick }: Play) {
    await jobs.cancelQueued({ batch, limit: 1 + (pick % 5), now })
  },
  async add({ jobs, batch, pick, nextKey }: Play) {
    await jobs.add(jobOf(batch, nextKey(), { upperMicroUsd: 5_000 * (1 + (pick % 6)) }))
  },
}

function changing(
  kind: 'slotted' | 'running' | 'any',
  change: (job: Job, pick: number) => Job | undefined,
): (play: Play) => Promise<void> {
  return async ({ jobs, batch, pick }) => {
    const overdue = async (phase: 'slotted' | 'running') =>
      jobs.overdue({ batch, kind: phase, before: now + 1_000_000, limit: 100 })
    const found =
      kind === 'any'
        ? [
            ...(await overdue('running')),
            ...(await overdue('slotted')),
            ...(await jobs.firstWaiting({ batch, limit: 100 })),
          ]
        : await overdue(kind)
    const ref = found[pick % Math.max(1, found.length)]
    const before = ref && (await jobs.get({ batch, key: ref.key }))
    const after = before && change(before.job, pick)
    if (before !== undefined && after !== undefined) await jobs.change(before, after)
  }
}

async function startPlay(table: Table, seed: number) {
  const batch = uniqueName('batch')
  const instances = ['left', 'right'].map((side) => jobsOn(table, side, `${seed}`))
  let keys = 0
  const nextKey = (): string => `line-${String((keys += 1)).padStart(3, '0')}`
  const playOn = (on: 0 | 1, pick: number): Play => ({ batch, jobs: instances[on]!, pick, nextKey })
  const start = Array.from({ length: 16 }, (_, pick) => pick)
  await Promise.allSettled(start.map(async (pick) => acts.add(playOn(0, pick))))
  return {
    batch,
    async together(ops: readonly Op[]): Promise<void> {
      const done = await Promise.allSettled(ops.map(async ({ act, on, pick }) => acts[act](playOn(on, pick))))
      for (const each of done) {
        const isLost = each.status === 'rejected' && String(each.reason).includes('the answer was lost')
        if (each.status === 'rejected' && !isLost) throw each.reason
      }
    },
    /** Who is kept back has no room, and who has room is not kept back. */
    async assertRoomIsUsed(): Promise<void> {
      const [left] = instances
      const waiting = await left!.firstWaiting({ batch, limit: 100 })
      const grants = waiting.map((job) => ({
        ...job,
        slotAt: now,
        quota: 'east',
        deployment: 'gpt-image-1',
      }))
      const given = await left!.slot({ grants, capMicroUsd })
      const { counters } = await contentIn(table, batch)
      const context = capMicroUsd - committedMicroUsd(counters)
      const kept = await left!.firstWaiting({ batch, limit: 100 })
      expect(kept.length).toBe(waiting.length - given.granted.length)
      expect(given.isCapReached).toBe(kept.length > 0)
      for (const { upperMicroUsd } of kept) expect(upperMicroUsd).toBeGreaterThan(context)
    },
  }
}
