import { beforeEach, describe, expect, it } from 'vitest'
import { plainTerms } from '../../../src/core/budget/fairness.ts'
import {
  cancelled,
  failed,
  renewed,
  retried,
  succeeded,
  unslotted,
} from '../../../src/core/jobs/transitions.ts'
import type { Job, PhaseKind } from '../../../src/core/jobs/job.ts'
import { timing } from '../../../src/core/timing.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { changeJob } from '../../../src/pipeline/jobs/change-job.ts'
import type { JobSnapshot } from '../../../src/ports/jobs.ts'
import { failureOfTest, jobIn, usage } from '../../core/sample.ts'
import { contextIn, newWorld, type World } from '../../support/context.ts'

const batch = 'batch_with_hook'
const ref = { batch, key: 'fox' }

let world: World
let plain: Context
/** What was done, in order, for the whole of a change. */
let steps: string[]

beforeEach(async () => {
  world = newWorld()
  plain = contextIn(world)
  steps = []
  await plain.batches.openBatch({
    batch,
    pool: 'pool',
    owner: null,
    createdAt: world.clock.now(),
    terms: plainTerms,
    order: {
      inputFileId: 'file-1',
      filesOf: null,
      endpoint: '/v1/images/generations',
      completionWindow: '24h',
      name: null,
      metadata: null,
      outputExpiresAfterMs: null,
      onUnknown: null,
      outputPrefix: null,
      webhook: { url: 'https://hooks.example.com', perJob: true },
      origin: 'https://darkroom.example',
    },
    progress: null,
    workedOnUntil: 0,
  })
})

async function stored(kind: PhaseKind): Promise<JobSnapshot> {
  await world.clock.run(plain.jobs.add(jobIn(kind, { batch, attempts: 1 })))
  return read()
}

async function read(): Promise<JobSnapshot> {
  return (await plain.jobs.get(ref))!
}

/** An instance that notes its steps. `first`: what happens when it first writes the job, and in place of what. */
function noting(first?: (write: () => Promise<JobSnapshot | undefined>) => Promise<JobSnapshot | undefined>) {
  let isFirst = true
  return contextIn(world, {
    messages: {
      ...world.messages,
      async sendHook(message, visibleAt) {
        steps.push('tells')
        await world.messages.sendHook(message, visibleAt)
      },
    },
    jobs: {
      ...plain.jobs,
      async get(job) {
        steps.push('reads')
        return plain.jobs.get(job)
      },
      async change(before, after, options) {
        steps.push(`writes ${after.phase.kind}`)
        const write = async () => plain.jobs.change(before, after, options)
        if (!isFirst || first === undefined) return write()
        isFirst = false
        return first(write)
      },
    },
    budgets: {
      ...plain.budgets,
      async commit(change) {
        const committed = await plain.budgets.commit(change)
        if (committed === 'committed') steps.push('ticks')
        return committed
      },
    },
  })
}

/** Somebody else's change, before the one that is watched: one that leaves the job running. */
async function overtaking(write: () => Promise<JobSnapshot | undefined>): Promise<JobSnapshot | undefined> {
  const now = await read()
  await plain.jobs.change(now, renewed(now.job, { leaseUntil: world.clock.now() + timing.leaseMs })!)
  return write()
}

const done = (job: Job) =>
  succeeded(job, { finishedAt: world.clock.now(), images: [], usage, costMicroUsd: 1 })
const fails = (job: Job) => failed(job, { finishedAt: world.clock.now(), failure: failureOfTest })
const again = (job: Job) => retried(job, { dueAt: world.clock.now(), possiblyPaid: false })

describe('a change of a job', () => {
  it.each([
    ['succeeded', 'running', done],
    ['failed', 'running', fails],
    ['cancelled', 'waiting', (job: Job) => cancelled(job, { finishedAt: world.clock.now() })],
  ] as const)('that ends it, %s, tells before it writes', async (kind, from, next) => {
    const before = await stored(from)
    const change = await world.clock.run(changeJob(noting(), before, next))
    expect(change).toMatchObject({ kind: 'changed', job: { phase: { kind } } })
    expect(steps).toEqual(['tells', `writes ${kind}`])
    expect(world.messages.hooks).toMatchObject([{ message: { kind: 'job', ...ref } }])
    expect((await read()).job.phase.kind).toBe(kind)
  })

  it.each([
    ['retried', 'running', again],
    ['unslotted', 'slotted', unslotted],
  ] as const)('that lets it wait again, %s, notifies the pacer once it does', async (_, from, next) => {
    const before = await stored(from)
    await world.clock.run(changeJob(noting(), before, next))
    expect(steps).toEqual(['writes waiting', 'ticks'])
  })

  it('that lets it wait again is left to its caller to announce, where the caller says so', async () => {
    const before = await stored('running')
    await world.clock.run(changeJob(noting(), before, again, { isAnnouncedByCaller: true }))
    expect(steps).toEqual(['writes waiting'])
  })

  it('that keeps it running neither tells nor notifies', async () => {
    const before = await stored('running')
    const next = (job: Job) => renewed(job, { leaseUntil: world.clock.now() + timing.leaseMs })
    await world.clock.run(changeJob(noting(), before, next))
    expect(steps).toEqual(['writes running'])
  })

  it('reads the job where it was not read before', async () => {
    await stored('slotted')
    const change = await world.clock.run(changeJob(noting(), ref, unslotted))
    expect(change.kind).toBe('changed')
    expect(steps).toEqual(['reads', 'writes waiting', 'ticks'])
  })

  it('answers the snapshot against which the next one is made', async () => {
    const before = await stored('running')
    const next = (job: Job) => renewed(job, { leaseUntil: world.clock.now() + timing.leaseMs })
    const first = await world.clock.run(changeJob(noting(), before, next))
    if (first.kind !== 'changed') throw new Error(first.kind)
    expect((await world.clock.run(changeJob(noting(), first, done))).kind).toBe('changed')
  })

  it('of a job that is not there is none', async () => {
    expect(await world.clock.run(changeJob(noting(), ref, unslotted))).toEqual({ kind: 'unknown-job' })
    expect(steps).toEqual(['reads'])
  })

  it('that the job has no use for writes nothing, and says what the job is', async () => {
    const { job } = await stored('running')
    expect(await world.clock.run(changeJob(noting(), ref, unslotted))).toEqual({ kind: 'refused', job })
    expect(steps).toEqual(['reads'])
  })

  it('asks how long it may wait for company, of the value that it writes', async () => {
    const before = await stored('running')
    const waits: (number | undefined)[] = []
    const context = contextIn(world, {
      jobs: {
        ...plain.jobs,
        async change(from, after, options) {
          waits.push(options?.mayWaitMs)
          return plain.jobs.change(from, after, options)
        },
      },
    })
    const mayWaitMs = ({ phase }: Job) => (phase.kind === 'succeeded' ? 700 : 0)
    await world.clock.run(changeJob(context, before, done, { mayWaitMs }))
    expect(waits).toEqual([700])
  })
})

describe('a change by somebody else meanwhile', () => {
  it('leaves the job as that one made it', async () => {
    const before = await stored('running')
    const change = await world.clock.run(changeJob(noting(overtaking), before, done))
    expect(change).toEqual({ kind: 'overtaken' })
    expect(steps).toEqual(['tells', 'writes succeeded'])
    expect((await read()).job.phase.kind).toBe('running')
  })

  it('is built upon where there are tries left', async () => {
    const before = await stored('running')
    const seen: Job[] = []
    const next = (job: Job) => {
      seen.push(job)
      return fails(job)
    }
    const change = await world.clock.run(changeJob(noting(overtaking), before, next, { triesMax: 2 }))
    expect(change.kind).toBe('changed')
    // The same end is told once.
    expect(steps).toEqual(['tells', 'writes failed', 'reads', 'writes failed'])
    expect(seen.map(({ phase }) => phase)).toEqual([
      before.job.phase,
      { kind: 'running', leaseUntil: expect.any(Number) },
    ])
    expect(seen[1]?.phase).not.toEqual(seen[0]?.phase)
  })

  it('may leave no use for this one', async () => {
    const before = await stored('running')
    const rescued = async (write: () => Promise<JobSnapshot | undefined>) => {
      await plain.jobs.change(before, fails(before.job)!)
      return write()
    }
    const change = await world.clock.run(changeJob(noting(rescued), before, again, { triesMax: 9 }))
    expect(change).toMatchObject({ kind: 'refused', job: { phase: { kind: 'failed' } } })
  })

  it('does not keep the pacer from being notified: the change may have been our own, whose answer was lost', async () => {
    const before = await stored('running')
    const lost = async (write: () => Promise<JobSnapshot | undefined>) => {
      await write()
      throw new Error('the answer was lost')
    }
    const options = { triesMax: 9, isPersistent: true }
    const change = await world.clock.run(changeJob(noting(lost), before, again, options))
    expect(change).toMatchObject({ kind: 'refused', job: { phase: { kind: 'waiting' } } })
    expect(steps).toEqual(['writes waiting', 'writes waiting', 'reads', 'ticks'])
  })
})

describe('storage that is away', () => {
  const away = async (): Promise<never> => {
    throw new Error('storage is away')
  }

  it('is tried again for what was paid for, against what the holder has by then; the end is told once', async () => {
    const before = await stored('running')
    let held = before
    const context = noting(async () => {
      const renewal = renewed(held.job, { leaseUntil: world.clock.now() + timing.leaseMs })!
      held = (await plain.jobs.change(held, renewal))!
      return away()
    })
    const finishedAt = world.clock.now()
    const next = (job: Job) => succeeded(job, { finishedAt, images: [], usage, costMicroUsd: 1 })
    const change = await world.clock.run(
      changeJob(context, { held: () => held }, next, { isPersistent: true }),
    )
    expect(change.kind).toBe('changed')
    expect(steps).toEqual(['tells', 'writes succeeded', 'writes succeeded'])
  })

  it('ends any other change', async () => {
    const before = await stored('running')
    await expect(world.clock.run(changeJob(noting(away), before, again))).rejects.toThrow('storage is away')
    expect(steps).toEqual(['writes waiting'])
  })
})
