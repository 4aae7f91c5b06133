import { beforeAll, describe, expect, test } from 'vitest'
import {
  claimed,
  failed,
  newJob,
  rejectedJob,
  renewed,
  retried,
  snoozed,
  succeeded,
  unslotted,
} from '../../src/core/job.ts'
import type { Job } from '../../src/core/job.ts'
import { failure } from '../../src/core/failure.ts'
import { limits } from '../../src/core/limits.ts'
import { chanceFrom } from '../../src/local/deployment/chance.ts'
import type { JobSnapshot, JobTable, SlotGrant } from '../../src/ports.ts'
import { jobTable } from '../../src/storage/job-table.ts'
import type { Table } from '../../src/storage/table.ts'
import { assertRowsAgree, type BatchContent } from '../support/laws.ts'
import { losingAnswers, type LostAnswer } from '../support/lost-answers.ts'
import { stores, uniqueName } from './stores.ts'

const now = Date.UTC(2026, 0, 5, 12)
const usage = { inputTokens: 50, outputTokens: 4_160, inputTextTokens: 50, inputImageTokens: 0 }

let ids = 0
function jobsOn(table: Table, ...words: string[]): JobTable {
  return jobTable(table, { chance: chanceFrom('job table', ...words), newId: () => `change-${(ids += 1)}` })
}

function jobOf(batch: string, key: string, at = now): Job {
  const request = { prompt: `a picture of ${key}`, n: 2, size: '1024x1024' }
  return newJob({ batch, key, customId: key, metadata: { shop: 'x' }, request, now: at })
}

function grantOf(job: Job, slotAt = now + 5_000.125): SlotGrant {
  const dueAt = job.phase.kind === 'waiting' ? job.phase.dueAt : 0
  return { batch: job.batch, key: job.key, dueAt, slotAt, deployment: 'gpt-image-1' }
}

describe.each(stores)('a job table in $name', ({ makeTable }) => {
  let table: Table
  let jobs: JobTable
  beforeAll(async () => {
    table = await makeTable()
    jobs = jobsOn(table)
  })

  async function contentOf(batch: string): Promise<BatchContent> {
    return assertRowsAgree(
      batch,
      await table.range({ partition: batch, from: ' ', before: '~~', limit: 5_000 }),
    )
  }

  async function read(job: Job): Promise<JobSnapshot> {
    return (await jobs.get(job))!
  }

  async function makeRunning(job: Job): Promise<JobSnapshot> {
    await jobs.add(job)
    await jobs.slot([grantOf(job)])
    const slotted = await read(job)
    const claim = claimed(slotted.job, { slotAt: now, deployment: 'gpt-image-1', leaseUntil: now + 90_000 })!
    return (await jobs.change(slotted, claim))!
  }

  test('a job is read back as it was written', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1')
    expect(await jobs.add(job)).toBe('added')
    expect((await read(job)).job).toEqual(job)
    expect(await jobs.get({ batch: job.batch, key: 'line-2' })).toBeUndefined()
  })

  test('the longest prompt and a rejected message are read back whole', async () => {
    const batch = uniqueName('batch')
    const long = { ...jobOf(batch, 'long'), request: { prompt: '🐈'.repeat(16_000) } }
    const rejected = rejectedJob({
      batch,
      key: 'rejected~1',
      customId: null,
      metadata: null,
      now,
      failure: failure('invalid', 'invalid_json', 'no JSON'),
      input: '{"prompt": ',
    })
    await Promise.all([jobs.add(long), jobs.add(rejected)])
    expect((await read(long)).job).toEqual(long)
    expect((await read(rejected)).job).toEqual(rejected)
    expect((await contentOf(batch)).counters).toMatchObject({ waiting: 1, failed: 1, lastFinishedAt: now })
  })

  test('a message that comes twice makes one job, counted once', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1')
    const results = await Promise.all([jobs.add(job), jobs.add(job), jobsOn(table, 'other').add(job)])
    expect(results.sort()).toEqual(['added', 'exists', 'exists'])
    expect(await jobs.add({ ...job, request: { prompt: 'another' } })).toBe('exists')
    expect((await read(job)).job).toEqual(job)
    expect((await contentOf(job.batch)).counters.waiting).toBe(1)
  })

  test('a job goes its whole way, and rows and counters agree at each step', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1')
    let snapshot = await makeRunning(job)
    await contentOf(job.batch)
    const steps: ((job: Job) => Job | undefined)[] = [
      (job) => renewed(job, { leaseUntil: now + 180_000 }),
      (job) => retried(job, { dueAt: now + 60_000, possiblyPaid: true, requestId: 'r-1' }),
    ]
    for (const step of steps) {
      snapshot = (await jobs.change(snapshot, step(snapshot.job)!))!
      expect((await read(job)).job).toEqual(snapshot.job)
      expect((await read(job)).version).toBe(snapshot.version)
      await contentOf(job.batch)
    }
    const image = { blob: 'a', contentType: 'image/png', sizeBytes: 1, width: 1, height: 1, sha256: 'x' }
    const result = { finishedAt: now + 9_000, images: [image, image], usage, requestId: 'r-2' }
    await jobs.change(snapshot, succeeded(snapshot.job, result)!)
    expect((await contentOf(job.batch)).counters).toMatchObject({
      succeeded: 1,
      images: 2,
      inputTokens: 50,
      outputTokens: 4_160,
      possiblyRepeated: 0,
      callMs: 9_000,
      firstStartedAt: now,
      lastFinishedAt: now + 9_000,
    })
  })

  test('a change against an older state is refused and leaves nothing', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1')
    const running = await makeRunning(job)
    const after = (await jobs.change(running, snoozed(running.job)!))!
    const stale = failed(running.job, { finishedAt: now, failure: failure('refused', 'x', 'y') })!
    expect(await jobs.change(running, stale)).toBeUndefined()
    expect(await read(job)).toEqual(after)
    expect((await contentOf(job.batch)).counters).toMatchObject({ waiting: 1, failed: 0 })
  })

  test('a change against an older state is refused also when the job has come back to where it was', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1')
    await jobs.add(job)
    const seen = await read(job)
    await jobs.slot([grantOf(job)])
    const slotted = await read(job)
    const back = (await jobs.change(slotted, unslotted(slotted.job)!))!
    expect(back.job.phase).toEqual(seen.job.phase)
    const stale = succeeded(seen.job, { finishedAt: now, images: [], usage })!
    expect(await jobs.change(seen, stale)).toBeUndefined()
    expect(await read(job)).toEqual(back)
    await contentOf(job.batch)
  })

  test('of several changes of one job at once one wins, on one instance and on several', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1')
    const running = await makeRunning(job)
    const change = snoozed(running.job)!
    const results = await Promise.all([
      jobs.change(running, change),
      jobs.change(running, change),
      jobsOn(table, 'b').change(running, change),
      jobsOn(table, 'c').change(running, change),
    ])
    expect(results.filter((result) => result !== undefined)).toHaveLength(1)
    expect((await contentOf(job.batch)).counters).toMatchObject({ waiting: 1, running: 0 })
  })

  test('a slot goes to jobs that wait as they were seen to; the others are left as they are', async () => {
    const batch = uniqueName('batch')
    const [free, taken, moved] = [jobOf(batch, 'free'), jobOf(batch, 'taken'), jobOf(batch, 'moved')]
    await Promise.all([free, taken, moved].map(async (job) => jobs.add(job)))
    await jobs.slot([grantOf(taken, now + 1_000)])
    const claim = await makeRunning({ ...moved, key: 'moved-2' })
    await jobs.change(claim, retried(claim.job, { dueAt: now + 60_000, possiblyPaid: false })!)
    const grants = [grantOf(free), grantOf(taken, now + 9_000), grantOf({ ...moved, key: 'moved-2' })]
    expect(await jobs.slot([...grants, grantOf(jobOf(batch, 'nobody'))])).toEqual([grants[0]])
    expect((await read(free)).job).toEqual({
      ...free,
      slotAt: now + 5_000.125,
      deployment: 'gpt-image-1',
      phase: { kind: 'slotted', slotAt: now + 5_000.125 },
    })
    expect((await read(taken)).job.slotAt).toBe(now + 1_000)
    expect((await read({ ...moved, key: 'moved-2' })).job.phase.kind).toBe('waiting')
    await contentOf(batch)
  })

  test('two pacers that give one job a slot: one does', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1')
    await jobs.add(job)
    const grants = [now + 1_000, now + 2_000].map((slotAt) => grantOf(job, slotAt))
    const results = await Promise.all(
      grants.map(async (grant, index) => jobsOn(table, `${index}`).slot([grant])),
    )
    expect(results.flat()).toHaveLength(1)
    expect((await read(job)).job.slotAt).toBe(results.flat()[0]?.slotAt)
    await contentOf(job.batch)
  })

  test('waiting jobs come in the order of their due times, then of their keys', async () => {
    const batch = uniqueName('batch')
    const inOrder = [
      jobOf(batch, 'z', now - 10_000),
      jobOf(batch, 'a'),
      jobOf(batch, 'b'),
      jobOf(batch, 'A', now + 0.5),
      jobOf(batch, 'later', now + 3_600_000),
    ]
    for (const job of inOrder.toReversed()) await jobs.add(job)
    const first = await jobs.firstWaiting({ batch, limit: 10 })
    expect(first.map(({ key, dueAt }) => [key, dueAt])).toEqual(
      inOrder.map((job) => [job.key, job.createdAt]),
    )
    expect((await jobs.firstWaiting({ batch, limit: 2 })).map(({ key }) => key)).toEqual(['z', 'a'])
    expect(await jobs.countBefore({ waiting: first[3]!, limit: 10 })).toBe(3)
    expect(await jobs.countBefore({ waiting: first[3]!, limit: 2 })).toBe(2)
    await jobs.slot([grantOf(inOrder[0]!)])
    expect((await jobs.firstWaiting({ batch, limit: 1 })).map(({ key }) => key)).toEqual(['a'])
  })

  test('overdue are those whose slot or lease lies before the time, and no others', async () => {
    const batch = uniqueName('batch')
    const [early, late] = [jobOf(batch, 'early'), jobOf(batch, 'late')]
    await Promise.all([jobs.add(early), jobs.add(late)])
    await jobs.slot([grantOf(early, now + 1_000), grantOf(late, now + 2_000)])
    const running = await makeRunning(jobOf(batch, 'running'))
    const overdue = async (kind: 'slot' | 'run', before: number): Promise<string[]> =>
      (await jobs.overdue({ batch, kind, before, limit: 10 })).map(({ key }) => key)
    expect(await overdue('slot', now + 1_000)).toEqual([])
    expect(await overdue('slot', now + 1_001)).toEqual(['early'])
    expect(await overdue('slot', now + 3_000)).toEqual(['early', 'late'])
    expect(await overdue('run', now + 90_000)).toEqual([])
    expect(await overdue('run', now + 90_001)).toEqual(['running'])
    await jobs.change(running, renewed(running.job, { leaseUntil: now + 180_000 })!)
    expect(await overdue('run', now + 90_001)).toEqual([])
    const slotted = await read(early)
    await jobs.change(slotted, unslotted(slotted.job)!)
    expect(await overdue('slot', now + 3_000)).toEqual(['late'])
  })

  test('a batch is opened once, and known with its counters', async () => {
    const batch = uniqueName('batch')
    expect(await jobs.getBatch(batch)).toBeUndefined()
    const opened = await Promise.all([1, 2, 3].map(async () => jobs.openBatch({ batch, createdAt: now })))
    expect(opened.filter((isNew) => isNew)).toEqual([true])
    await jobs.add(jobOf(batch, 'line-1'))
    expect(await jobs.getBatch(batch)).toMatchObject({
      batch: { batch, createdAt: now },
      counters: { waiting: 1, running: 0 },
    })
  })

  test('changes of one batch that come together share transactions', async () => {
    const batch = uniqueName('batch')
    let transactions = 0
    const counting: Table = {
      ...table,
      async transact(partition, writes) {
        transactions += 1
        return table.transact(partition, writes)
      },
    }
    const instance = jobsOn(counting)
    const added = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => instance.add(jobOf(batch, `line-${index}`))),
    )
    expect(added).toEqual(Array.from({ length: 200 }, () => 'added'))
    expect((await contentOf(batch)).counters.waiting).toBe(200)
    expect(transactions).toBeLessThanOrEqual(6)
  })

  test('one that is refused does not keep the others of its transaction from their change', async () => {
    const batch = uniqueName('batch')
    await jobs.add(jobOf(batch, 'line-2'))
    const others = jobsOn(table, 'others')
    const results = await Promise.all(
      Array.from({ length: 5 }, async (_, index) => others.add(jobOf(batch, `line-${index}`))),
    )
    expect(results).toEqual(['added', 'added', 'exists', 'added', 'added'])
    expect((await contentOf(batch)).counters.waiting).toBe(5)
  })

  test('instances that meet at one counter spread, and the sum stays exact', async () => {
    const batch = uniqueName('batch')
    const instances = Array.from({ length: 6 }, (_, index) => jobsOn(table, 'writer', `${index}`))
    await Promise.all(
      instances.map(async (instance, writer) => {
        for (let index = 0; index < 12; index += 1) await instance.add(jobOf(batch, `${writer}-${index}`))
      }),
    )
    expect((await contentOf(batch)).counters.waiting).toBe(72)
    const shards = await table.range({ partition: batch, from: 'count:', before: 'count;', limit: 10 })
    expect(shards.length).toBeGreaterThan(1)
  })

  describe('when the answer of a transaction is lost', () => {
    /** A table of jobs whose next transactions lose their answers. */
    function losing(...answers: (LostAnswer | undefined)[]): JobTable {
      return jobsOn(
        losingAnswers(table, () => answers.shift()),
        'losing',
      )
    }

    test('and it is sent again, a new job counts as added, once', async () => {
      const job = jobOf(uniqueName('batch'), 'line-1')
      expect(await losing('sent-again').add(job)).toBe('added')
      expect((await contentOf(job.batch)).counters.waiting).toBe(1)
    })

    test('and it is sent again, a change counts as made, with the version it has', async () => {
      const running = await makeRunning(jobOf(uniqueName('batch'), 'line-1'))
      const changed = await losing('sent-again').change(running, snoozed(running.job)!)
      expect(changed).toEqual(await read(running.job))
      expect(changed?.job.phase.kind).toBe('waiting')
      expect((await contentOf(running.job.batch)).counters).toMatchObject({ waiting: 1, running: 0 })
    })

    test('and it is sent again, a slot counts as given', async () => {
      const job = jobOf(uniqueName('batch'), 'line-1')
      await jobs.add(job)
      expect(await losing('sent-again').slot([grantOf(job)])).toEqual([grantOf(job)])
      expect((await read(job)).job.phase.kind).toBe('slotted')
      await contentOf(job.batch)
    })

    test('and it is sent again, each of a group counts as done, once', async () => {
      const batch = uniqueName('batch')
      const instance = losing(undefined, 'sent-again')
      const results = await Promise.all(
        Array.from({ length: 9 }, async (_, index) => instance.add(jobOf(batch, `line-${index}`))),
      )
      expect(results).toEqual(Array.from({ length: 9 }, () => 'added'))
      expect((await contentOf(batch)).counters.waiting).toBe(9)
      expect(await instance.add(jobOf(batch, 'line-9'))).toBe('added')
      expect((await contentOf(batch)).counters.waiting).toBe(10)
    })

    test('and the caller sees it fail, trying again finds it done, once', async () => {
      const job = jobOf(uniqueName('batch'), 'line-1')
      const instance = losing('throws')
      await expect(instance.add(job)).rejects.toThrow('the answer was lost')
      expect(await instance.add(job)).toBe('exists')
      expect(await instance.add(jobOf(job.batch, 'line-2'))).toBe('added')
      expect((await contentOf(job.batch)).counters.waiting).toBe(2)
    })

    test('and the store does not say which write was in the way, nothing is lost or counted twice', async () => {
      const batch = uniqueName('batch')
      await jobs.add(jobOf(batch, 'line-2'))
      const silent: Table = {
        ...table,
        async transact(partition, writes) {
          const result = await table.transact(partition, writes)
          return result.kind === 'conflict' ? { kind: 'conflict', conflictAt: undefined } : result
        },
      }
      const instance = jobsOn(silent, 'silent')
      const results = await Promise.all(
        Array.from({ length: 5 }, async (_, index) => instance.add(jobOf(batch, `line-${index}`))),
      )
      expect(results).toEqual(['added', 'added', 'exists', 'added', 'added'])
      expect((await contentOf(batch)).counters.waiting).toBe(5)
      // Others have written all the counters, those too that this instance knows.
      for (const shard of [0, 1, 2, 3]) {
        const other = jobTable(table, {
          chance: () => shard / limits.countShards,
          newId: () => `other-${shard}`,
        })
        await other.add(jobOf(batch, `other-${shard}`))
      }
      expect(await instance.add(jobOf(batch, 'line-6'))).toBe('added')
      expect((await contentOf(batch)).counters.waiting).toBe(10)
    })
  })
})
