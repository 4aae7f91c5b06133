import { describe, expect, test } from 'vitest'
import type { Breaker } from '../../../src/core/budget/breaker.ts'
import { memberOf, raisedLead, spacingMs, stopped, throttled } from '../../../src/core/budget/ledger.ts'
import { claimed, retried } from '../../../src/core/jobs/transitions.ts'
import { limits } from '../../../src/core/limits.ts'
import { timing } from '../../../src/core/timing.ts'
import { newCapacity, type Capacity } from '../../../src/pipeline/capacity.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { takeMessage } from '../../../src/pipeline/intake/intake.ts'
import { changeLedger } from '../../../src/pipeline/pacing/ledgers.ts'
import { runTick } from '../../../src/pipeline/pacing/pacer.ts'
import { rescue } from '../../../src/pipeline/running/rescue.ts'
import type { RunOutcome } from '../../../src/pipeline/running/run-end.ts'
import { giveUpSlot, runJob } from '../../../src/pipeline/running/worker.ts'
import type { ModelAnswer } from '../../../src/ports/model.ts'
import type { WorkMessage } from '../../../src/ports/messages.ts'
import { assertRowsAgree } from '../../support/laws.ts'
import {
  batch,
  deployment,
  jobIn,
  ledgerIn,
  messageOf,
  newWorld,
  phaseOf,
  quota,
  contextIn,
  workOf,
  type World,
} from '../../support/context.ts'
import { fails, pictures } from '../../support/scripted-model.ts'

const ref = { pool: 'pool', quota: deployment }

/** The room, whose ledger cannot be changed the next `times` times. */
function awayFor(context: Context, times: number): Context {
  let faults = times
  return {
    ...context,
    budgets: {
      ...context.budgets,
      changeLedger: async (change: Parameters<typeof context.budgets.changeLedger>[0]) => {
        if ((faults -= 1) >= 0) throw new Error('storage is away')
        return context.budgets.changeLedger(change)
      },
    },
  }
}

/** A job that has its slot, a room, and the time at which its message becomes visible. */
async function slottedJob(
  own: Partial<Context> = {},
): Promise<{ world: World; context: Context; message: WorkMessage }> {
  const world = newWorld()
  const context = contextIn(world, own)
  await world.clock.run(takeMessage(context, messageOf('cat', { n: 2 })))
  const message = workOf(world, 'cat')
  await world.clock.runUntil(message.wakeAt)
  return { world, context, message }
}

async function run(world: World, context: Context, message: WorkMessage): Promise<RunOutcome> {
  const outcome = await world.clock.run(runJob(context, message))
  assertRowsAgree(batch, world.jobs.rows(batch))
  return outcome
}

/** Runs ticks until the job has a slot, and answers its message. */
async function nextSlot(world: World, context: Context, key = 'cat'): Promise<WorkMessage> {
  for (let ticks = 0; ticks < 100; ticks += 1) {
    if ((await jobIn(context, key)).phase.kind === 'slotted') return workOf(world, key)
    const { epoch, dueAt } = (await context.budgets.readTick('pool'))!
    await world.clock.runUntil(dueAt ?? world.clock.now())
    await world.clock.run(runTick(context, { pool: 'pool', epoch }))
  }
  throw new Error(`job ${key} got no slot`)
}

async function breakerIn(context: Context, name = deployment): Promise<Breaker | null> {
  return memberOf(await ledgerIn(context), name)?.breaker ?? null
}

async function wake(world: World, message: WorkMessage, lateMs = 0): Promise<void> {
  await world.clock.runUntil(message.wakeAt + lateMs)
}

test('a job is called exactly at its slot, once, and ends with its images and tokens', async () => {
  const { world, context, message } = await slottedJob()
  expect(await run(world, context, message)).toEqual({ kind: 'succeeded', images: 2 })
  expect(world.model.calls.map(({ startedAt }) => startedAt)).toEqual([message.slotAt])
  const job = await jobIn(context, 'cat')
  const { images, usage, costMicroUsd } = await phaseOf(context, { key: 'cat' }, 'succeeded')
  expect(costMicroUsd).toBe(2 * 5_000)
  expect(job).toMatchObject({
    attempts: 1,
    startedAt: message.slotAt,
    possiblyRepeated: 0,
    requestIds: ['call 1'],
  })
  expect(usage.outputTokens).toBe(100)
  expect(images.map(({ blob }) => blob)).toEqual([`${batch}/cat-0.png`, `${batch}/cat-1.png`])
  expect(await context.images.find({ batch, key: 'cat' })).toMatchObject({ facts: { attempt: 1 }, images })
})

test('before the call the record says that money may be spent', async () => {
  const { world, context, message } = await slottedJob()
  const work = runJob(context, message)
  await world.clock.runUntil(message.slotAt + 1_000)
  expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 1, phase: { kind: 'running' } })
  await world.clock.run(work)
})

test('a message that comes twice at once leads to one call', async () => {
  const { world, context, message } = await slottedJob()
  const outcomes = await world.clock.run(
    Promise.all([runJob(context, message), runJob(contextIn(world), message)]),
  )
  expect(outcomes.map(({ kind }) => kind).sort()).toEqual(['stale', 'succeeded'])
  expect(await run(world, context, message)).toEqual({ kind: 'stale' })
  expect(world.model.calls).toHaveLength(1)
})

describe('a failed call', () => {
  async function failing(answer: ModelAnswer, own: Partial<Context> = {}) {
    const slotted = await slottedJob(own)
    slotted.world.model.script.push(answer)
    const outcome = await run(slotted.world, slotted.context, slotted.message)
    return { ...slotted, outcome, job: await jobIn(slotted.context, 'cat') }
  }

  test('that passes is tried again after a wait, as another attempt, and is no repeat', async () => {
    const { world, context, outcome, job } = await failing(fails('transient'))
    // Chance is in the middle: half of 2 s x 2.
    expect(outcome).toEqual({ kind: 'retried', code: 'transient', dueAt: world.clock.now() + 2_000 })
    expect(job).toMatchObject({ attempts: 1, possiblyRepeated: 0 })
    const message = await nextSlot(world, context)
    await wake(world, message)
    expect((await run(world, context, message)).kind).toBe('succeeded')
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 2, possiblyRepeated: 0 })
  })

  test('that passes fails the job when its attempts are used up', async () => {
    const { outcome, job } = await failing(fails('transient'), { attemptsMax: 1 })
    expect(outcome).toEqual({ kind: 'failed', code: 'transient' })
    expect(job.phase).toMatchObject({ kind: 'failed', failure: { kind: 'transient' } })
  })

  test.each(['refused', 'invalid'] as const)('that was %s is final', async (kind) => {
    const { world, outcome, job } = await failing(fails(kind))
    expect(outcome).toEqual({ kind: 'failed', code: kind })
    expect(job.phase).toMatchObject({ kind: 'failed', failure: { kind } })
    expect(world.model.calls).toHaveLength(1)
  })

  test('whose answer was lost is repeated and labelled', async () => {
    const { world, context, outcome, job } = await failing(fails('unknown'))
    expect(outcome.kind).toBe('retried')
    expect(job).toMatchObject({ possiblyRepeated: 1, unsureMicroUsd: 20_000 })
    const message = await nextSlot(world, context)
    await wake(world, message)
    await run(world, context, message)
    expect(await jobIn(context, 'cat')).toMatchObject({
      attempts: 2,
      possiblyRepeated: 1,
      phase: { kind: 'succeeded' },
    })
  })

  test('whose answer was lost fails the job where a person decides', async () => {
    const { outcome, job } = await failing(fails('unknown'), { onUnknown: 'fail' })
    expect(outcome).toEqual({ kind: 'failed', code: 'unknown' })
    expect(job).toMatchObject({ possiblyRepeated: 0, unsureMicroUsd: 20_000 })
  })

  test('for want of quota pauses the deployment as long as it asks, and costs no attempt', async () => {
    const { world, context, outcome, job } = await failing(fails('throttled', { retryAfterMs: 40_000 }))
    expect(outcome.kind).toBe('snoozed')
    expect(job).toMatchObject({
      attempts: 0,
      possiblyRepeated: 0,
      phase: { kind: 'waiting', dueAt: job.createdAt },
    })
    const { pausedUntil } = await ledgerIn(context)
    expect(pausedUntil).toBe(world.clock.now() + 40_000)
    const message = await nextSlot(world, context)
    expect(message.slotAt).toBeGreaterThanOrEqual(pausedUntil)
  })

  test('for want of quota stays known while storage is away, and is never taken for a lost one', async () => {
    const { world, context, message } = await slottedJob({ onUnknown: 'fail' })
    world.model.script.push(fails('throttled', { retryAfterMs: 1_000 }))
    const shaky = awayFor(context, 2)
    expect((await run(world, shaky, message)).kind).toBe('snoozed')
    const job = await jobIn(context, 'cat')
    expect([job.phase.kind, job.attempts, job.possiblyRepeated]).toEqual(['slotted', 0, 0])
  })

  test('that passes stays known while storage is away, and is never taken for a lost one', async () => {
    const { world, context, message } = await slottedJob({ onUnknown: 'fail' })
    world.model.script.push(fails('transient'))
    const shaky = awayFor(context, 2)
    expect((await run(world, shaky, message)).kind).toBe('retried')
    const job = await jobIn(context, 'cat')
    expect([job.phase.kind, job.attempts, job.possiblyRepeated]).toEqual(['slotted', 1, 0])
  })
})

describe('the limit that an answer speaks of', () => {
  const told = (answer: ModelAnswer, limitRpm: number): ModelAnswer =>
    answer.kind === 'images'
      ? { ...answer, limitRpm }
      : { kind: 'failure', failure: { ...answer.failure, limitRpm } }

  test.each([
    ['pictures', pictures(2, 'told'), 'succeeded'],
    ['a fault', fails('transient'), 'retried'],
  ])('is taken over with %s', async (_name, answer, kind) => {
    const { world, context, message } = await slottedJob()
    world.model.script.push(told(answer, 30))
    expect((await run(world, context, message)).kind).toBe(kind)
    expect(spacingMs(await ledgerIn(context))).toBeCloseTo(60_000 / (30 * 0.98))
  })

  test('is not worth an answer that was paid for: storage that is away loses none', async () => {
    const { world, context, message } = await slottedJob()
    world.model.script.push(told(pictures(2, 'told'), 30))
    let faults = 1
    const away = contextIn(world, {
      budgets: {
        ...context.budgets,
        async readLedger(asked) {
          const isAnswered = world.clock.now() > message.slotAt
          if (isAnswered && (faults -= 1) >= 0) throw new Error('storage is away')
          return context.budgets.readLedger(asked)
        },
      },
    })
    expect(await run(world, away, message)).toEqual({ kind: 'succeeded', images: 2 })
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 1, possiblyRepeated: 0 })
  })
})

describe('a stopped deployment', () => {
  async function stoppedRoom() {
    const slotted = await slottedJob()
    slotted.world.model.script.push(fails('unavailable', { code: '401' }))
    expect((await run(slotted.world, slotted.context, slotted.message)).kind).toBe('snoozed')
    return slotted
  }

  test('costs no attempt, says why, and is asked by one job at growing intervals', async () => {
    const { world, context } = await stoppedRoom()
    expect((await jobIn(context, 'cat')).attempts).toBe(0)
    expect(await breakerIn(context)).toMatchObject({ code: '401', message: 'the model says 401' })
    const stoppedAt = world.clock.now()
    await world.clock.run(takeMessage(context, messageOf('dog')))
    const first = await nextSlot(world, context)
    expect(first.slotAt - stoppedAt).toBeGreaterThanOrEqual(timing.probeFirstMs)
    expect(world.messages.work.filter(({ message }) => message.slotAt >= first.slotAt)).toHaveLength(1)
    world.model.script.push(fails('unavailable', { code: '401' }))
    await wake(world, first)
    await run(world, context, first)
    const second = await nextSlot(world, context)
    expect(second.slotAt - first.slotAt).toBeGreaterThanOrEqual(2 * timing.probeFirstMs)
  })

  test.each([
    ['pictures', pictures(2, 'probe')],
    ['a refusal', fails('refused')],
    ['a 429', fails('throttled', { retryAfterMs: 1_000 })],
  ])('goes on when its probe is answered with %s', async (_name, answer) => {
    const { world, context } = await stoppedRoom()
    const probe = await nextSlot(world, context)
    world.model.script.push(answer)
    await wake(world, probe)
    await run(world, context, probe)
    expect(await breakerIn(context)).toBeNull()
  })

  test('goes on although its probe wakes too late for its slot', async () => {
    const { world, context } = await stoppedRoom()
    const probe = await nextSlot(world, context)
    await wake(world, probe, 20_000)
    expect((await run(world, context, probe)).kind).toBe('succeeded')
    expect(await breakerIn(context)).toBeNull()
  })

  test('lets no job start that had its slot before', async () => {
    const { world, context, message } = await slottedJob()
    await world.clock.run(
      changeLedger(context, ref, (ledger) =>
        stopped(ledger, {
          deployment,
          slotAt: 0,
          now: world.clock.now(),
          code: '401',
          message: 'the key is wrong',
        }),
      ),
    )
    expect(await run(world, contextIn(world), message)).toEqual({
      kind: 'snoozed',
      code: 'deployment_stopped',
    })
    expect(world.model.calls).toEqual([])
    const job = await jobIn(context, 'cat')
    expect([job.phase.kind, job.attempts]).toEqual(['slotted', 0])
    // If it has a slot again it is the probe's.
    const probeSlotAt = (await breakerIn(context))?.probeSlotAt ?? null
    expect(job.phase.kind === 'slotted' ? job.phase.slotAt : null).toBe(probeSlotAt)
  })
})

test('a job whose slot falls in a pause goes back unsent, at no attempt and at its old place', async () => {
  const { world, context, message } = await slottedJob()
  const now = world.clock.now()
  const pause = { now, slotAt: now, retryAfterMs: 30_000, cause: 'rate', reason: 'busy' } as const
  await world.clock.run(changeLedger(context, ref, (ledger) => throttled(ledger, pause)))
  expect(await run(world, contextIn(world), message)).toEqual({ kind: 'snoozed', code: 'deployment_paused' })
  expect(world.model.calls).toEqual([])
  const job = await jobIn(context, 'cat')
  expect(job).toMatchObject({ attempts: 0, phase: { kind: 'waiting', dueAt: job.createdAt } })
})

describe('who wakes too late for its slot', () => {
  /** The ledger's next free slot lies so far away. */
  async function freeIn(ms: number): Promise<{ world: World; context: Context; message: WorkMessage }> {
    const slotted = await slottedJob()
    const { world, context, message } = slotted
    await world.clock.runUntil(message.slotAt + 10_000)
    const nextFreeAt = world.clock.now() + ms
    await world.clock.run(changeLedger(context, ref, (ledger) => ({ ...ledger, nextFreeAt })))
    return slotted
  }

  /** One that has been at work since before any of the messages became visible. */
  const atWork = (jobs = 1): Capacity => {
    const capacity = newCapacity(limits.jobsAtOnce)
    capacity.jobs.arrived(0)
    for (let count = 0; count < jobs; count += 1) capacity.jobs.take(0)
    return capacity
  }

  test('takes a fresh slot behind all others, and raises the lead', async () => {
    const { world, context, message } = await slottedJob()
    await world.clock.run(takeMessage(context, messageOf('dog')))
    const dog = await nextSlot(world, context, 'dog')
    const before = await ledgerIn(context)
    await world.clock.runUntil(dog.slotAt - 500)
    const late = { now: world.clock.now(), wakeAt: message.wakeAt, wokeAt: world.clock.now() }
    expect((await run(world, contextIn(world, { capacity: atWork() }), message)).kind).toBe('succeeded')
    const [call] = world.model.calls
    expect(call?.startedAt).toBeGreaterThanOrEqual(dog.slotAt + Math.floor(spacingMs(before)))
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 1, startedAt: call?.startedAt })
    expect((await ledgerIn(context)).leadMs).toBe(raisedLead(before, late)?.leadMs ?? before.leadMs)
  })

  test('goes back to its place in line when others wait, so that nobody is held up, and raises the lead', async () => {
    const { world, context, message } = await freeIn(timing.freshSlotMs + 1)
    const before = await ledgerIn(context)
    const now = world.clock.now()
    const outcome = { kind: 'snoozed', code: 'message_late' }
    expect(await run(world, contextIn(world, { capacity: atWork() }), message)).toEqual(outcome)
    expect(world.clock.now() - now).toBeLessThan(timing.freshSlotMs)
    const job = await jobIn(context, 'cat')
    expect(job.attempts).toBe(0)
    expect(['waiting', 'slotted']).toContain(job.phase.kind)
    const after = await ledgerIn(context)
    const late = { now, wakeAt: message.wakeAt, wokeAt: now }
    expect(after.leadMs).toBe(raisedLead(before, late)?.leadMs)
    expect(world.model.calls).toEqual([])
  })

  test('takes the slot that is free within three seconds', async () => {
    const { world, context, message } = await freeIn(timing.freshSlotMs)
    const { nextFreeAt } = await ledgerIn(context)
    expect((await run(world, contextIn(world), message)).kind).toBe('succeeded')
    expect(world.model.calls.map(({ startedAt }) => startedAt)).toEqual([nextFreeAt])
  })

  test('takes the slot as it is when it comes to write, though it looked nearer before', async () => {
    const { world, context, message } = await freeIn(0)
    const far = world.clock.now() + 10_000
    let isTaken = false
    const own = contextIn(world, {
      budgets: {
        ...context.budgets,
        async changeLedger(change) {
          if (!isTaken) {
            isTaken = true
            const { before } = change
            const after = { ...before.value, nextFreeAt: far }
            await context.budgets.changeLedger({ pool: 'pool', before, after })
          }
          return context.budgets.changeLedger(change)
        },
      },
    })
    expect((await run(world, own, message)).kind).toBe('snoozed')
    expect((await ledgerIn(context)).nextFreeAt).toBeGreaterThanOrEqual(far)
    expect(world.model.calls).toEqual([])
  })

  test('leaves the lead alone on an instance that is full: its messages are late because of that', async () => {
    const capacity = atWork(64)
    const near = await freeIn(0)
    const { leadMs } = await ledgerIn(near.context)
    expect((await run(near.world, contextIn(near.world, { capacity }), near.message)).kind).toBe('succeeded')
    expect((await ledgerIn(near.context)).leadMs).toBe(leadMs)
    const far = await freeIn(60_000)
    const before = await ledgerIn(far.context)
    const full = atWork(64)
    expect((await run(far.world, contextIn(far.world, { capacity: full }), far.message)).kind).toBe('snoozed')
    const { leadMs: after } = await ledgerIn(far.context)
    expect(after).toBe(before.leadMs)
  })

  test.each([
    ['at once', 0],
    ['behind others', 60_000],
  ])('leaves the lead alone where it was started for the message, with a slot %s', async (_when, freeMs) => {
    const { world, context, message } = await freeIn(freeMs)
    const { leadMs } = await ledgerIn(context)
    const fresh = contextIn(world)
    await run(world, fresh, message)
    expect((await ledgerIn(context)).leadMs).toBe(leadMs)
    // From then on it is at work: what becomes visible now and comes late is late by itself.
    await world.clock.run(takeMessage(context, messageOf('dog')))
    const next = await nextSlot(world, context, 'dog')
    await world.clock.runUntil(next.slotAt + 1_000)
    await run(world, fresh, next)
    expect((await ledgerIn(context)).leadMs).toBeGreaterThan(leadMs)
  })

  test('does not write to the ledger when it has nothing to say', async () => {
    const { world, context, message } = await freeIn(60_000)
    await world.clock.run(changeLedger(context, ref, (ledger) => ({ ...ledger, leadMs: timing.leadMaxMs })))
    let writes = 0
    const own = contextIn(world, {
      budgets: {
        ...context.budgets,
        async changeLedger(change) {
          writes += 1
          return context.budgets.changeLedger(change)
        },
      },
    })
    expect((await run(world, own, message)).kind).toBe('snoozed')
    expect(writes).toBe(0)
  })

  test('takes none from a deployment that is stopped', async () => {
    const { world, context, message } = await freeIn(0)
    const stop = { deployment, slotAt: 0, now: world.clock.now(), code: '401', message: 'the key is wrong' }
    await world.clock.run(changeLedger(context, ref, (ledger) => stopped(ledger, stop)))
    expect((await run(world, contextIn(world), message)).kind).toBe('snoozed')
    expect(world.model.calls).toEqual([])
  })
})

test('who wakes a little late starts at once', async () => {
  const { world, context, message } = await slottedJob()
  await world.clock.runUntil(message.slotAt + timing.lateMs)
  await run(world, context, message)
  expect(world.model.calls[0]?.startedAt).toBe(message.slotAt + timing.lateMs)
})

test.each([
  ['holds', 500],
  ['has claimed', 100],
])(
  'an instance that is asked to stop gives back what it %s, and ends what it has called',
  async (_what, beforeMs) => {
    const stopping = new AbortController()
    const { world, context, message } = await slottedJob({ stopping: stopping.signal })
    const cat = runJob(context, message)
    await world.clock.run(takeMessage(context, messageOf('dog')))
    const dogs = await nextSlot(world, context, 'dog')
    const dog = runJob(context, dogs)
    await world.clock.runUntil(dogs.slotAt - beforeMs)
    expect(world.model.calls).toHaveLength(1)
    stopping.abort()
    expect(await world.clock.run(dog)).toEqual({ kind: 'snoozed', code: 'stopping' })
    expect((await world.clock.run(cat)).kind).toBe('succeeded')
    expect(world.model.calls).toHaveLength(1)
    const back = await jobIn(context, 'dog')
    expect([back.phase.kind, back.attempts]).toEqual(['slotted', 0])
  },
)

test('a message that its queue gave up gives the slot back', async () => {
  const { world, context, message } = await slottedJob()
  await world.clock.run(giveUpSlot(context, { ...message, slotAt: message.slotAt - 1 }))
  expect((await jobIn(context, 'cat')).phase.kind).toBe('slotted')
  await world.clock.run(giveUpSlot(context, message))
  expect((await jobIn(context, 'cat')).phase.kind).not.toBe('running')
  expect(world.messages.work.length + world.messages.ticks.length).toBeGreaterThan(1)
})

describe('a long call', () => {
  test('keeps its lease, so that no rescue touches it', async () => {
    const { world, context, message } = await slottedJob()
    let answer = (_answer: ModelAnswer): void => {}
    world.model.script.push(new Promise((resolve) => (answer = resolve)))
    const work = runJob(context, message)
    for (let minute = 1; minute <= 8; minute += 1) {
      await world.clock.runUntil(message.slotAt + minute * 60_000)
      expect(await world.clock.run(rescue(contextIn(world)))).toEqual({
        unslotted: 0,
        recovered: 0,
        unknown: 0,
        givenUp: 0,
      })
    }
    answer(pictures(2, 'slow'))
    expect((await world.clock.run(work)).kind).toBe('succeeded')
    expect((await jobIn(context, 'cat')).possiblyRepeated).toBe(0)
  })

  test('keeps its lease although the answer of a renewal was lost', async () => {
    const { world, context, message } = await slottedJob()
    world.model.script.push(
      new Promise((resolve) => world.clock.at(message.slotAt + 300_000, () => resolve(pictures(2, 'slow')))),
    )
    let renewals = 0
    const shaky = contextIn(world, {
      jobs: {
        ...context.jobs,
        async change(before, after) {
          const changed = await context.jobs.change(before, after)
          const isRenewal = before.job.phase.kind === 'running' && after.phase.kind === 'running'
          if (isRenewal && (renewals += 1) === 1) throw new Error('the answer was lost')
          return changed
        },
      },
    })
    const work = runJob(shaky, message)
    for (let minute = 1; minute <= 4; minute += 1) {
      await world.clock.runUntil(message.slotAt + minute * 60_000)
      expect((await world.clock.run(rescue(contextIn(world)))).unknown).toBe(0)
    }
    expect((await world.clock.run(work)).kind).toBe('succeeded')
    expect(renewals).toBeGreaterThan(2)
  })
})

describe('an answer that comes after a rescue', () => {
  /** The instance calls, is cut off from storage, and its job is rescued; `answer` lets the call end. */
  async function cutOff() {
    const { world, context, message } = await slottedJob()
    let isCutOff = false
    const cut = <In extends unknown[], Out>(act: (...all: In) => Promise<Out>) => {
      return async (...all: In): Promise<Out> => {
        if (isCutOff) throw new Error('cut off')
        return act(...all)
      }
    }
    const own = contextIn(world, {
      jobs: {
        ...context.jobs,
        get: cut(async (ref) => context.jobs.get(ref)),
        change: cut(async (before, after) => context.jobs.change(before, after)),
      },
    })
    let answer = (_answer: ModelAnswer): void => {}
    world.model.script.push(new Promise((resolve) => (answer = resolve)))
    const work = runJob(own, message)
    await world.clock.runUntil(message.slotAt + 1_000)
    isCutOff = true
    await world.clock.runUntil(message.slotAt + 2 * timing.leaseMs)
    const rescued = await world.clock.run(rescue(context))
    expect(rescued.unknown).toBe(1)
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 1, possiblyRepeated: 1 })
    return { world, context, work, answer, reconnect: () => (isCutOff = false) }
  }

  test('still counts when the job waits, and the repeat that was feared has not taken place', async () => {
    const { world, context, work, answer, reconnect } = await cutOff()
    reconnect()
    answer(pictures(2, 'late'))
    expect(await world.clock.run(work)).toEqual({ kind: 'succeeded', images: 2 })
    expect(await jobIn(context, 'cat')).toMatchObject({ possiblyRepeated: 0, phase: { kind: 'succeeded' } })
    assertRowsAgree(batch, world.jobs.rows(batch))
    expect(world.model.calls).toHaveLength(1)
  })

  test('is kept until storage is back', async () => {
    const { world, context, work, answer, reconnect } = await cutOff()
    answer(pictures(2, 'late'))
    world.clock.at(world.clock.now() + 20_000, reconnect)
    expect(await world.clock.run(work)).toEqual({ kind: 'succeeded', images: 2 })
    expect((await jobIn(context, 'cat')).phase.kind).toBe('succeeded')
  })

  test('is dropped when the repeat was faster', async () => {
    const { world, context, work, answer, reconnect } = await cutOff()
    const message = await nextSlot(world, context)
    await wake(world, message)
    world.model.script.push(pictures(1, 'repeat', 7))
    expect((await run(world, context, message)).kind).toBe('succeeded')
    reconnect()
    answer(pictures(2, 'late'))
    expect(await world.clock.run(work)).toEqual({ kind: 'too-late' })
    expect((await phaseOf(context, { key: 'cat' }, 'succeeded')).usage.outputTokens).toBe(7)
    expect((await context.images.find({ batch, key: 'cat' }))?.facts.requestId).toBe('repeat')
    const { counters } = assertRowsAgree(batch, world.jobs.rows(batch))
    expect(counters).toMatchObject({ images: 1, outputTokens: 7, possiblyRepeated: 1 })
  })

  test('keeps its images when the repeat is under way: what that brings is not stored over them', async () => {
    const { world, context, work, answer, reconnect } = await cutOff()
    const message = await nextSlot(world, context)
    await wake(world, message)
    world.model.script.push(pictures(2, 'repeat', 7))
    const repeat = runJob(context, message)
    // It may have taken a fresh slot; its call takes 20 s.
    await world.clock.runUntil(message.slotAt + 5_000)
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 2, phase: { kind: 'running' } })
    reconnect()
    answer(pictures(2, 'late'))
    expect(await world.clock.run(work)).toEqual({ kind: 'succeeded', images: 2 })
    // Its lease has not been looked at since: nothing but the job tells that it is finished.
    expect(await world.clock.run(repeat)).toEqual({ kind: 'too-late' })
    expect((await context.images.find({ batch, key: 'cat' }))?.facts.requestId).toBe('late')
    const { images } = await phaseOf(context, { key: 'cat' }, 'succeeded')
    const [first] = images
    const stored = first && (await context.images.read(first))
    if (stored?.kind !== 'bytes') throw new Error('the image is gone')
    expect(Buffer.from(stored.bytes).toString()).toBe('late, image 0')
  })

  test('is found before the repeat is made, when the instance died between storing and saying so', async () => {
    const { world, context } = await cutOff()
    const message = await nextSlot(world, context)
    const late = pictures(2, 'late', 9)
    if (late.kind !== 'images') throw new Error('no pictures')
    const facts = { attempt: 1, usage: late.usage, requestId: 'late', finishedAt: world.clock.now() }
    await context.images.save({ job: { batch, key: 'cat' }, facts, images: late.images })
    await wake(world, message)
    expect(await run(world, context, message)).toEqual({ kind: 'succeeded', images: 2 })
    expect(world.model.calls).toHaveLength(1)
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 1, possiblyRepeated: 0 })
  })

  test('a lost run that finds its call unsent does not disturb the next one', async () => {
    const { world, context, message } = await slottedJob()
    const standing = await standsStillAfterClaim(world, context, message)
    const held = (await context.jobs.get({ batch, key: 'cat' }))!
    const back = retried(held.job, { dueAt: world.clock.now(), possiblyPaid: true })!
    await context.jobs.change(held, back)
    const again = await nextSlot(world, context)
    await world.clock.runUntil(message.slotAt + timing.lateMs + 1)
    const slotted = (await context.jobs.get({ batch, key: 'cat' }))!
    const leaseUntil = world.clock.now() + timing.leaseMs
    await context.jobs.change(
      slotted,
      claimed(slotted.job, { slotAt: again.slotAt, deployment, leaseUntil })!,
    )
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 2, phase: { kind: 'running' } })
    standing.goOn()
    expect((await world.clock.run(standing.work)).kind).toBe('snoozed')
    expect(world.model.calls).toEqual([])
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 2, phase: { kind: 'running' } })
  })
})

test('who stood still after the claim misses its slot, and gives the job back at no attempt', async () => {
  const { world, context, message } = await slottedJob()
  const standing = await standsStillAfterClaim(world, context, message)
  expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 1, phase: { kind: 'running' } })
  await world.clock.runUntil(message.slotAt + timing.lateMs + 1)
  standing.goOn()
  expect(await world.clock.run(standing.work)).toEqual({
    kind: 'snoozed',
    code: 'stood_still',
  })
  expect(world.model.calls).toEqual([])
  const job = await jobIn(context, 'cat')
  expect([job.phase.kind, job.attempts, job.possiblyRepeated]).toEqual(['slotted', 0, 0])
  assertRowsAgree(batch, world.jobs.rows(batch))
})

test('a snooze whose answer was lost is not written once more over the next run, which has the same attempt', async () => {
  const { world, context, message } = await slottedJob()
  let isAway = false
  let isFirst = true
  const shaky = contextIn(world, {
    jobs: {
      ...context.jobs,
      async change(before, after) {
        if (isAway) throw new Error('storage is away')
        const changed = await context.jobs.change(before, after)
        const isClaim = before.job.phase.kind === 'slotted' && after.phase.kind === 'running'
        if (isClaim) await world.clock.sleepUntil(message.slotAt + timing.lateMs + 1)
        isAway = isFirst && after.phase.kind === 'waiting'
        isFirst &&= !isAway
        if (isAway) throw new Error('the answer was lost')
        return changed
      },
    },
  })
  const late = runJob(shaky, message)
  await world.clock.runUntil(message.slotAt + 500)
  expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 0, phase: { kind: 'waiting' } })
  const again = await nextSlot(world, context)
  await wake(world, again)
  const next = runJob(context, again)
  await world.clock.runUntil(again.slotAt + 1)
  expect(world.model.calls).toHaveLength(1)
  isAway = false
  expect((await world.clock.run(late)).kind).toBe('snoozed')
  expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 1, phase: { kind: 'running' } })
  expect((await world.clock.run(next)).kind).toBe('succeeded')
  expect(world.model.calls).toHaveLength(1)
})

test('who stood still for less than it may be late starts at once', async () => {
  const { world, context, message } = await slottedJob()
  const standing = await standsStillAfterClaim(world, context, message)
  await world.clock.runUntil(message.slotAt + timing.lateMs)
  standing.goOn()
  expect((await world.clock.run(standing.work)).kind).toBe('succeeded')
  expect(world.model.calls[0]?.startedAt).toBe(message.slotAt + timing.lateMs)
})

/** A run whose claim is written, and whose process then stands still until it may go on. */
async function standsStillAfterClaim(
  world: World,
  context: Context,
  message: WorkMessage,
): Promise<{ work: Promise<RunOutcome>; goOn: () => void }> {
  let goOn = (): void => {}
  const stands = new Promise<void>((resolve) => (goOn = resolve))
  const own = contextIn(world, {
    jobs: {
      ...context.jobs,
      async change(before, after) {
        const changed = await context.jobs.change(before, after)
        const isClaim = before.job.phase.kind === 'slotted' && after.phase.kind === 'running'
        if (isClaim) await stands
        return changed
      },
    },
  })
  const work = runJob(own, message)
  await world.clock.runUntil(message.slotAt - 1)
  return { work, goOn: () => goOn() }
}

test('a run that lost its lease before the call makes none, and gives the job back if it is still its own', async () => {
  const { world, context, message } = await slottedJob()
  let standsStill = true
  const frozen: Context = {
    ...context,
    jobs: {
      ...context.jobs,
      async change(before, after) {
        const changed = await context.jobs.change(before, after)
        // The claim is written; then this process stands still for longer than its lease.
        if (standsStill) await world.clock.sleepUntil(world.clock.now() + 2 * timing.leaseMs)
        standsStill = false
        return changed
      },
    },
  }
  const outcome = await run(world, frozen, message)
  expect(outcome.kind).toBe('snoozed')
  expect(world.model.calls).toEqual([])
  expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 0, possiblyRepeated: 0 })
})

test('a slot of a deployment that is not configured any more goes back unsent', async () => {
  const { world, context, message } = await slottedJob()
  const other = {
    ...quota,
    quota: 'gpt-image-2',
    deployments: [{ deployment: 'gpt-image-2', settingsMark: 'mark' }],
  }
  const pools = context.pools.map((settings) => ({ ...settings, quotas: [other] }))
  const moved: Context = { ...context, pools }
  expect((await run(world, moved, message)).kind).toBe('snoozed')
  expect(world.model.calls).toEqual([])
  const again = await nextSlot(world, moved)
  expect(again.deployment).toBe('gpt-image-2')
})
