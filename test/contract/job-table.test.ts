import { beforeAll, describe, expect, test } from 'vitest'
import { batchTable } from '../../src/storage/tables/batch-table.ts'
import {
  cancelled,
  failed,
  renewed,
  reopened,
  retried,
  snoozed,
  succeeded,
  unslotted,
} from '../../src/core/jobs/transitions.ts'
import { rejectedJob, type Job, type PhaseKind } from '../../src/core/jobs/job.ts'
import { logged, type Delivery } from '../../src/core/batches/webhook.ts'
import { ratePerMinute } from '../../src/core/jobs/counters.ts'
import { failure } from '../../src/core/jobs/failure.ts'
import { plainTerms, type Terms } from '../../src/core/budget/fairness.ts'
import { priorityLines } from '../../src/core/jobs/keys.ts'
import { limits } from '../../src/core/limits.ts'
import type { JobSnapshot, JobTable, SlotGrant } from '../../src/ports/jobs.ts'
import type { Table } from '../../src/storage/tables/table.ts'
import type { BatchContent } from '../support/laws.ts'
import { losingAnswers, type LostAnswer } from '../support/lost-answers.ts'
import { contentIn, grantOf, image, jobOf, jobsOn, jobsOnShard, makeRunning, now, usage } from './jobs.ts'
import { stores, uniqueName } from './stores.ts'

describe.each(stores)('a job table in $name', ({ makeTable }) => {
  let table: Table
  let jobs: JobTable
  beforeAll(async () => {
    table = await makeTable()
    jobs = jobsOn(table)
  })

  async function contentOf(batch: string): Promise<BatchContent> {
    return contentIn(table, batch)
  }

  async function read(job: Job): Promise<JobSnapshot> {
    return (await jobs.get(job))!
  }

  async function run(job: Job): Promise<JobSnapshot> {
    return makeRunning(jobs, job)
  }

  /** Slots of a batch that has no cap. */
  async function slot(grants: readonly SlotGrant[], on = jobs): Promise<readonly SlotGrant[]> {
    const given = await on.slot({ grants, capMicroUsd: null })
    expect(given.isCapReached).toBe(false)
    return given.granted
  }

  test('a job is read back as it was written', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1', { priority: 'high', upperMicroUsd: 12_345 })
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
      pool: 'pool',
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

  test('until when a job is waited for, and why it was cancelled, are read back', async () => {
    const job = { ...jobOf(uniqueName('batch'), 'line-1'), giveUpAt: now + 1_000 }
    await jobs.add(job)
    const before = await read(job)
    expect(before.job).toEqual(job)
    const after = cancelled(job, { finishedAt: now + 2_000, reason: 'nobody waits' })!
    await jobs.change(before, after)
    expect((await read(job)).job).toEqual(after)
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
    let snapshot = await run(job)
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
    const result = { finishedAt: now + 9_000, images: [image, image], usage, requestId: 'r-2' }
    const done = succeeded(snapshot.job, { ...result, costMicroUsd: 4_000 })!
    await jobs.change(snapshot, done)
    expect((await read(job)).job).toEqual(done)
    expect((await contentOf(job.batch)).counters).toMatchObject({
      succeeded: 1,
      images: 2,
      inputTokens: 50,
      outputTokens: 4_160,
      possiblyRepeated: 0,
      spentMicroUsd: 4_000,
      unsureMicroUsd: 0,
      reservedMicroUsd: 0,
      answersRecently: [{ at: now + 9_000, isRefused: false }],
      callMs: 9_000,
      firstStartedAt: now,
      lastFinishedAt: now + 9_000,
    })
  })

  test('refusals are counted with their times, wherever they are written', async () => {
    const batch = uniqueName('batch')
    for (const [index, kind] of (['refused', 'transient', 'refused'] as const).entries()) {
      const before = await run(jobOf(batch, `line-${index}`))
      const after = failed(before.job, { finishedAt: now + index, failure: failure(kind, 'x', 'y') })!
      await jobsOnShard(table, index, limits.countShards).change(before, after)
    }
    const { answersRecently, unsureMicroUsd } = (await contentOf(batch)).counters
    expect(answersRecently.toSorted((a, b) => a.at - b.at)).toEqual([
      { at: now, isRefused: true },
      { at: now + 1, isRefused: false },
      { at: now + 2, isRefused: true },
    ])
    expect(unsureMicroUsd).toBe(20_000)
  })

  test('a change against an older state is refused and leaves nothing', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1')
    const running = await run(job)
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
    await slot([grantOf(job)])
    const slotted = await read(job)
    const back = (await jobs.change(slotted, unslotted(slotted.job)!))!
    expect(back.job.phase).toEqual(seen.job.phase)
    const stale = succeeded(seen.job, { finishedAt: now, images: [], usage, costMicroUsd: 1 })!
    expect(await jobs.change(seen, stale)).toBeUndefined()
    expect(await read(job)).toEqual(back)
    await contentOf(job.batch)
  })

  test('of several changes of one job at once one wins, on one instance and on several', async () => {
    const job = jobOf(uniqueName('batch'), 'line-1')
    const running = await run(job)
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
    await slot([grantOf(taken, now + 1_000)])
    const claim = await run({ ...moved, key: 'moved-2' })
    await jobs.change(claim, retried(claim.job, { dueAt: now + 60_000, possiblyPaid: false })!)
    const grants = [grantOf(free), grantOf(taken, now + 9_000), grantOf({ ...moved, key: 'moved-2' })]
    expect(await slot([...grants, grantOf(jobOf(batch, 'nobody'))])).toEqual([grants[0]])
    expect((await read(free)).job).toEqual({
      ...free,
      slotAt: now + 5_000.125,
      deployment: 'gpt-image-1',
      phase: { kind: 'slotted', slotAt: now + 5_000.125, isReserved: false },
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
      grants.map(async (grant, index) => slot([grant], jobsOn(table, `${index}`))),
    )
    expect(results.flat()).toHaveLength(1)
    expect((await read(job)).job.slotAt).toBe(results.flat()[0]?.slotAt)
    await contentOf(job.batch)
  })

  test('waiting jobs come in the order of their due times, then of their keys', async () => {
    const batch = uniqueName('batch')
    const inOrder = [
      jobOf(batch, 'z', { at: now - 10_000 }),
      jobOf(batch, 'a'),
      jobOf(batch, 'b'),
      jobOf(batch, 'A', { at: now + 0.5 }),
      jobOf(batch, 'later', { at: now + 3_600_000 }),
    ]
    for (const job of inOrder.toReversed()) await jobs.add(job)
    const first = await jobs.firstWaiting({ batch, limit: 10 })
    expect(first.map(({ key, dueAt }) => [key, dueAt])).toEqual(
      inOrder.map((job) => [job.key, job.createdAt]),
    )
    expect((await jobs.firstWaiting({ batch, limit: 2 })).map(({ key }) => key)).toEqual(['z', 'a'])
    expect(await jobs.countBefore({ waiting: first[3]!, limit: 10 })).toBe(3)
    expect(await jobs.countBefore({ waiting: first[3]!, limit: 2 })).toBe(2)
    await slot([grantOf(inOrder[0]!)])
    expect((await jobs.firstWaiting({ batch, limit: 1 })).map(({ key }) => key)).toEqual(['a'])
  })

  test('those of a higher priority come first, and the line can be read from any priority on', async () => {
    const batch = uniqueName('batch')
    const inOrder = priorityLines.flatMap((priority) => [
      jobOf(batch, `${priority ?? 'own'}-due`, { priority, at: now - 1_000, upperMicroUsd: 0 }),
      jobOf(batch, `${priority ?? 'own'}-later`, { priority, at: now + 3_600_000, upperMicroUsd: 20_000 }),
    ])
    for (const job of inOrder.toReversed()) await jobs.add(job)
    const all = await jobs.firstWaiting({ batch, limit: 100 })
    expect(all).toEqual(
      inOrder.map(({ key, priority, createdAt, upperMicroUsd }) => ({
        batch,
        key,
        priority,
        dueAt: createdAt,
        upperMicroUsd,
      })),
    )
    for (const [line, priority] of priorityLines.entries()) {
      expect(await jobs.firstWaiting({ batch, limit: 100, from: priority })).toEqual(all.slice(2 * line))
      expect(await jobs.firstWaiting({ batch, limit: 1, from: priority })).toEqual([all[2 * line]])
    }
    for (const [before, waiting] of all.entries()) {
      expect(await jobs.countBefore({ waiting, limit: 100 })).toBe(before)
    }
    const back = unslotted((await slotted(inOrder[1]!)).job)!
    await jobs.change(await read(inOrder[1]!), back)
    expect(await jobs.firstWaiting({ batch, limit: 100 })).toEqual(all)
    await contentOf(batch)
  })

  async function slotted(job: Job): Promise<JobSnapshot> {
    await slot([grantOf(job)])
    return read(job)
  }

  test('every state has its index, in order of time, from behind a job on', async () => {
    const batch = uniqueName('batch')
    for (const [key, at] of [
      ['c', now + 2],
      ['a', now + 1],
      ['b', now + 1.001],
    ] as const)
      await jobs.add(jobOf(batch, key, { at }))
    await jobs.add(jobOf(batch, 'urgent', { priority: 'high', at: now + 9 }))
    const waiting = await jobs.indexed({ batch, kind: 'waiting', limit: 10 })
    expect(waiting.map(({ key }) => key)).toEqual(['urgent', 'a', 'b', 'c'])
    expect(waiting[1]).toEqual({ batch, key: 'a', at: now + 1, priority: null, failure: null })
    const rest = await jobs.indexed({ batch, kind: 'waiting', after: waiting[1], limit: 1 })
    expect(rest.map(({ key }) => key)).toEqual(['b'])

    const ends = ['s1', 's2', 'f1', 'f2']
    for (const [index, key] of ends.entries()) {
      const claim = await run(jobOf(batch, key))
      const finishedAt = now + 100 + index
      const after = key.startsWith('s')
        ? succeeded(claim.job, { finishedAt, images: [image], usage, costMicroUsd: 5 })!
        : failed(claim.job, { finishedAt, failure: failure('refused', 'blocked', 'no') })!
      await jobs.change(claim, after)
    }
    await jobs.cancelQueued({ batch, limit: 10, now: now + 200 })
    const kindOf = async (kind: PhaseKind, query: { from?: number } = {}): Promise<object[]> =>
      (await jobs.indexed({ batch, kind, limit: 10, ...query })).map(({ key, at, failure: of }) => ({
        key,
        at,
        of,
      }))
    expect(await kindOf('succeeded')).toEqual([
      { key: 's1', at: now + 100, of: null },
      { key: 's2', at: now + 101, of: null },
    ])
    expect(await kindOf('succeeded', { from: now + 101 })).toHaveLength(1)
    expect(await kindOf('failed')).toEqual([
      { key: 'f1', at: now + 102, of: 'refused' },
      { key: 'f2', at: now + 103, of: 'refused' },
    ])
    expect((await kindOf('cancelled')).length).toBe(4)
    await contentOf(batch)
  })

  test('a failed job that is asked for again waits, and is counted so', async () => {
    const batch = uniqueName('batch')
    const claim = await run(jobOf(batch, 'a'))
    const lost = failed(claim.job, { finishedAt: now + 1, failure: failure('unknown', 'timeout', 'late') })!
    const snapshot = (await jobs.change(claim, lost))!
    expect(await jobs.change(snapshot, reopened(lost, { now: now + 2 })!)).toBeDefined()
    expect(await jobs.change(snapshot, reopened(lost, { now: now + 3 })!)).toBeUndefined()
    const { counters, jobs: all } = await contentOf(batch)
    expect(counters).toMatchObject({ waiting: 1, failed: 0, possiblyRepeated: 1 })
    expect(all[0]).toMatchObject({ attempts: 1, attemptsForgiven: 1, failedAt: now + 1 })
  })

  test('records are listed by their keys, without prompts where they are not wanted', async () => {
    const batch = uniqueName('batch')
    for (const key of ['b', 'a-1', 'a', 'c']) await jobs.add(jobOf(batch, key))
    const keys = async (after?: string): Promise<string[]> =>
      (await jobs.list({ batch, after, limit: 2 })).map(({ key }) => key)
    expect(await keys()).toEqual(['a', 'a-1'])
    expect(await keys('a')).toEqual(['a-1', 'b'])
    expect(await keys('b')).toEqual(['c'])
    const [brief] = await jobs.list({ batch, limit: 1, isBrief: true })
    expect(brief).toEqual({ ...jobOf(batch, 'a'), request: { ...jobOf(batch, 'a').request, prompt: '' } })
  })

  test('overdue are those whose slot or lease lies before the time, and no others', async () => {
    const batch = uniqueName('batch')
    const [early, late] = [jobOf(batch, 'early'), jobOf(batch, 'late')]
    await Promise.all([jobs.add(early), jobs.add(late)])
    await slot([grantOf(early, now + 1_000), grantOf(late, now + 2_000)])
    const running = await run(jobOf(batch, 'running'))
    const overdue = async (kind: 'slotted' | 'running', before: number): Promise<string[]> =>
      (await jobs.overdue({ batch, kind, before, limit: 10 })).map(({ key }) => key)
    expect(await overdue('slotted', now + 1_000)).toEqual([])
    expect(await overdue('slotted', now + 1_001)).toEqual(['early'])
    expect(await overdue('slotted', now + 3_000)).toEqual(['early', 'late'])
    expect(await overdue('running', now + 90_000)).toEqual([])
    expect(await overdue('running', now + 90_001)).toEqual(['running'])
    await jobs.change(running, renewed(running.job, { leaseUntil: now + 180_000 })!)
    expect(await overdue('running', now + 90_001)).toEqual([])
    const before = await read(early)
    await jobs.change(before, unslotted(before.job)!)
    expect(await overdue('slotted', now + 3_000)).toEqual(['late'])
  })

  test('a batch is opened once, as who came first has it, and known with its counters', async () => {
    const batch = uniqueName('batch')
    expect(await batchTable(table).getBatch(batch)).toBeUndefined()
    expect(await batchTable(table).readBatch(batch)).toBeUndefined()
    const opened = await Promise.all(
      ['first', 'second', 'third'].map(async (pool, index) =>
        batchTable(table).openBatch({
          batch,
          pool,
          createdAt: now + index,
          terms: plainTerms,
          owner: null,
          order: null,
          progress: null,
          workedOnUntil: 0,
        }),
      ),
    )
    for (const each of opened) expect(each).toEqual(opened[0])
    expect(await batchTable(table).readBatch(batch)).toEqual(opened[0])
    await jobs.add(jobOf(batch, 'line-1'))
    expect(await batchTable(table).getBatch(batch)).toMatchObject({
      batch: opened[0],
      counters: { waiting: 1, running: 0 },
    })
    await contentOf(batch)
  })

  test('the terms of a batch are kept with it, and nothing else of it is changed', async () => {
    const batch = uniqueName('batch')
    const opened = {
      batch,
      pool: 'pool',
      createdAt: now,
      terms: plainTerms,
      owner: null,
      order: null,
      progress: null,
      workedOnUntil: 0,
    }
    await batchTable(table).openBatch(opened)
    const terms: Terms = {
      priority: 'low',
      capMicroUsd: 12_345_678,
      decision: { kind: 'paused', by: 'refusals', reason: 'look at them — ä', at: now + 5 },
      refusalsFrom: now + 1,
    }
    await batchTable(table).saveTerms(batch, terms)
    expect(await batchTable(table).readBatch(batch)).toEqual({ ...opened, terms })
    expect(await batchTable(table).openBatch({ ...opened, pool: 'another' })).toEqual({ ...opened, terms })
    // A flow has more than the terms: only those are kept.
    const flow = { ...plainTerms, batch, tag: 7 }
    await batchTable(table).saveTerms(batch, flow)
    expect(await batchTable(table).readBatch(batch)).toEqual(opened)
  })

  test('the tries of a webhook are kept, also when several are noted at once', async () => {
    const batch = uniqueName('batch')
    expect(await batchTable(table).readHookLog(batch)).toBeUndefined()
    const delivery = (at: number): Delivery => ({
      at,
      eventId: `evt_${at}`,
      type: 'job.failed',
      tries: 1,
      status: at === 1 ? 500 : null,
      fault: at === 1 ? null : 'ECONNREFUSED',
      nextAt: at === 1 ? 9 : null,
    })
    await batchTable(table).changeHookLog(batch, (log) => logged(log, delivery(1)))
    await Promise.all(
      [2, 3].map(async (at) => batchTable(table).changeHookLog(batch, (log) => logged(log, delivery(at)))),
    )
    expect(await batchTable(table).readHookLog(batch)).toEqual({
      isGone: false,
      deliveries: [delivery(3), delivery(2), delivery(1)],
    })
  })

  test('the terms of a batch that was never opened go nowhere', async () => {
    const batch = uniqueName('batch')
    await batchTable(table).saveTerms(batch, { ...plainTerms, priority: 'high' })
    expect(await batchTable(table).readBatch(batch)).toBeUndefined()
  })

  describe('cancelling what is queued', () => {
    const query = (batch: string) => ({ batch, limit: 100, now: now + 60_000 })

    test('takes those that wait, whatever their priority and due time, and counts them', async () => {
      const batch = uniqueName('batch')
      const waiting = [
        jobOf(batch, 'a', { priority: 'high' }),
        jobOf(batch, 'b', { at: now + 3_600_000 }),
        jobOf(batch, 'c', { priority: 'low', upperMicroUsd: 0 }),
      ]
      for (const job of waiting) await jobs.add(job)
      const running = await run(jobOf(batch, 'running'))
      const unpaid = jobOf(batch, 'unsure')
      const repeated = retried((await run(unpaid)).job, { dueAt: now + 9_000, possiblyPaid: true })!
      await jobs.change(await read(unpaid), repeated)
      expect(await jobs.cancelQueued(query(batch))).toEqual({ found: 4, cancelled: 4 })
      for (const job of [...waiting, repeated]) {
        expect((await read(job)).job).toEqual(cancelled(job, { finishedAt: now + 60_000 }))
      }
      expect(await read(running.job)).toEqual(running)
      expect((await contentOf(batch)).counters).toMatchObject({
        waiting: 0,
        running: 1,
        cancelled: 4,
        unsureMicroUsd: 10_000,
        lastFinishedAt: now + 60_000,
      })
      expect(await jobs.cancelQueued(query(batch))).toEqual({ found: 0, cancelled: 0 })
    })

    test('takes those with a slot when nobody waits, and gives back what was reserved for them', async () => {
      const batch = uniqueName('batch')
      const [free, reserved, waits] = [jobOf(batch, 'free'), jobOf(batch, 'reserved'), jobOf(batch, 'waits')]
      for (const job of [free, reserved]) await jobs.add(job)
      await slot([grantOf(free)])
      await jobs.slot({ grants: [grantOf(reserved)], capMicroUsd: 1_000_000 })
      await jobs.add(waits)
      expect((await contentOf(batch)).counters.reservedMicroUsd).toBe(10_000)
      expect(await jobs.cancelQueued(query(batch))).toEqual({ found: 1, cancelled: 1 })
      expect((await read(free)).job.phase.kind).toBe('slotted')
      expect(await jobs.cancelQueued(query(batch))).toEqual({ found: 2, cancelled: 2 })
      const { counters } = await contentOf(batch)
      expect(counters).toMatchObject({ waiting: 0, cancelled: 3, reservedMicroUsd: 0 })
      expect((await read(reserved)).job).toMatchObject({
        slotAt: now + 5_000.125,
        deployment: 'gpt-image-1',
        phase: { kind: 'cancelled' },
      })
    })

    test('counts as cancelling them one by one does, and neither adds to the rate of what is finished', async () => {
      const [single, swept] = [uniqueName('batch'), uniqueName('batch')]
      for (const batch of [single, swept]) {
        const slots = [jobOf(batch, 'free'), jobOf(batch, 'reserved')] as const
        for (const job of [...slots, ...['a', 'b', 'c'].map((key) => jobOf(batch, key))]) await jobs.add(job)
        await slot([grantOf(slots[0])])
        await jobs.slot({ grants: [grantOf(slots[1])], capMicroUsd: 1_000_000 })
      }
      for (const job of (await contentOf(single)).jobs) {
        const before = await read(job)
        await jobs.change(before, cancelled(before.job, { finishedAt: now + 60_000 })!)
      }
      while ((await jobs.cancelQueued(query(swept))).found > 0);
      const [bySingle, bySweep] = [await contentOf(single), await contentOf(swept)]
      expect(bySingle.counters).toMatchObject({ waiting: 0, cancelled: 5, reservedMicroUsd: 0 })
      expect(bySweep.counters).toEqual(bySingle.counters)
      for (const { counters } of [bySingle, bySweep]) expect(ratePerMinute(counters, now + 60_000)).toBe(0)
    })

    test('stops at the limit, those that are next first', async () => {
      const batch = uniqueName('batch')
      for (const key of ['a', 'b', 'c']) await jobs.add(jobOf(batch, key))
      expect(await jobs.cancelQueued({ ...query(batch), limit: 2 })).toEqual({ found: 2, cancelled: 2 })
      expect((await jobs.firstWaiting({ batch, limit: 9 })).map(({ key }) => key)).toEqual(['c'])
      await contentOf(batch)
    })

    test('leaves who moved meanwhile as it is now', async () => {
      const batch = uniqueName('batch')
      const many = Array.from({ length: 40 }, (_, index) => jobOf(batch, `line-${index}`))
      await Promise.all(many.map(async (job) => jobs.add(job)))
      const [given, first, second] = await Promise.all([
        slot(many.slice(0, 30).map((job) => grantOf(job))),
        jobsOn(table, 'b').cancelQueued(query(batch)),
        jobsOn(table, 'c').cancelQueued(query(batch)),
      ])
      const phases = (await contentOf(batch)).jobs.map(({ phase }) => phase.kind)
      const cancelledCount = phases.filter((kind) => kind === 'cancelled').length
      expect(cancelledCount).toBe(first.cancelled + second.cancelled)
      // Of two that take from the same line, and one that gives slots, each job has one fate.
      expect(phases.filter((kind) => kind === 'slotted').length).toBeLessThanOrEqual(given.length)
      let found = Infinity
      while (found > 0) found = (await jobs.cancelQueued(query(batch))).found
      expect((await contentOf(batch)).counters).toMatchObject({ waiting: 0, cancelled: 40 })
    })

    test('keeps a worker that holds a slot from its claim', async () => {
      const job = jobOf(uniqueName('batch'), 'line-1')
      await jobs.add(job)
      const held = await slotted(job)
      await jobs.cancelQueued(query(job.batch))
      const claim = {
        ...held.job,
        attempts: 1,
        phase: { kind: 'running', leaseUntil: now + 90_000 },
      } as const
      expect(await jobs.change(held, claim)).toBeUndefined()
      expect((await read(job)).job.phase.kind).toBe('cancelled')
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

  test('a change that may wait goes with the next one of its batch, and alone when none comes', async () => {
    const batch = uniqueName('batch')
    const groups: number[] = []
    const counting: Table = {
      ...table,
      async transact(partition, writes) {
        groups.push(writes.filter(({ row }) => row.startsWith('job:')).length)
        return table.transact(partition, writes)
      },
    }
    const instance = jobsOn(counting)
    const running: JobSnapshot[] = []
    for (const index of [1, 2, 3, 4]) running.push(await run(jobOf(batch, `line-${index}`)))
    const fail = async (index: number, mayWaitMs: number): Promise<string | undefined> => {
      const before = running[index]!
      const after = failed(before.job, { finishedAt: now, failure: failure('refused', 'x', 'y') })!
      return (await instance.change(before, after, { mayWaitMs }))?.job.phase.kind
    }
    expect(await Promise.all([fail(0, 60_000), fail(1, 60_000), fail(2, 0)])).toEqual(
      Array.from({ length: 3 }, () => 'failed'),
    )
    expect(groups).toEqual([3])
    expect(await fail(3, 10)).toBe('failed')
    expect(groups).toEqual([3, 1])
    expect((await contentOf(batch)).counters.failed).toBe(4)
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
      const running = await run(jobOf(uniqueName('batch'), 'line-1'))
      const changed = await losing('sent-again').change(running, snoozed(running.job)!)
      expect(changed).toEqual(await read(running.job))
      expect(changed?.job.phase.kind).toBe('waiting')
      expect((await contentOf(running.job.batch)).counters).toMatchObject({ waiting: 1, running: 0 })
    })

    test('and it is sent again, a slot counts as given', async () => {
      const job = jobOf(uniqueName('batch'), 'line-1')
      await jobs.add(job)
      expect(await slot([grantOf(job)], losing('sent-again'))).toEqual([grantOf(job)])
      expect((await read(job)).job.phase.kind).toBe('slotted')
      await contentOf(job.batch)
    })

    test('and it is sent again, a cancelled job is counted once', async () => {
      const batch = uniqueName('batch')
      for (const key of ['a', 'b', 'c']) await jobs.add(jobOf(batch, key))
      const done = await losing('sent-again').cancelQueued({ batch, limit: 9, now })
      expect(done).toEqual({ found: 3, cancelled: 3 })
      expect((await contentOf(batch)).counters).toMatchObject({ waiting: 0, cancelled: 3 })
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
        const other = jobsOnShard(table, shard, limits.countShards)
        await other.add(jobOf(batch, `other-${shard}`))
      }
      expect(await instance.add(jobOf(batch, 'line-6'))).toBe('added')
      expect((await contentOf(batch)).counters.waiting).toBe(10)
    })
  })
})
