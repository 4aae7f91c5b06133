import { describe, expect, test } from 'vitest'
import type { Context } from '../../src/pipeline/context.ts'
import { takeMessage } from '../../src/pipeline/intake/intake.ts'
import { rescue } from '../../src/pipeline/running/rescue.ts'
import { giveUpSlot, runJob } from '../../src/pipeline/running/worker.ts'
import type { WorkMessage } from '../../src/ports/messages.ts'
import { assertRowsAgree } from '../support/laws.ts'
import { batch, jobIn, messageOf, newWorld, contextIn, workOf, type World } from '../support/context.ts'
import { tickOnce } from './play.ts'

/**
 * A host that is drained aborts runs some seconds after their start: "Worker channel is shutting down" (host #12007).
 * Their code does not go on, the message comes again 30 s later, and that counts as one of its ten tries.
 */
const againMs = 30_000
const triesMax = 10

/** An instance whose process ends at the given time: nothing that it waits for ever comes. */
function endingAt(world: World, endsAt: number): Context {
  const context = contextIn(world)
  const mortal = <T extends object>(port: T): T =>
    new Proxy(port, {
      get(target, name, receiver) {
        const found: unknown = Reflect.get(target, name, receiver)
        if (typeof found !== 'function') return found
        if (name === 'now') return found
        return async (...args: unknown[]) => {
          if (world.clock.now() >= endsAt) return never()
          const value: unknown = await Reflect.apply(found, target, args)
          return world.clock.now() < endsAt ? value : never()
        }
      },
    })
  const { clock, jobs, budgets, images, messages, model } = context
  return {
    ...context,
    clock: mortal(clock),
    jobs: mortal(jobs),
    budgets: mortal(budgets),
    images: mortal(images),
    messages: mortal(messages),
    model: mortal(model),
  }
}

async function never(): Promise<never> {
  return new Promise(() => {})
}

/** A job with its slot, and its message. */
async function slotted(): Promise<{ world: World; context: Context; message: WorkMessage }> {
  const world = newWorld()
  const context = contextIn(world)
  // The first slot is near; the second job's is as far as slots are given.
  for (const key of ['first', 'cat']) await world.clock.run(takeMessage(context, messageOf(key)))
  while (world.messages.work.every(({ message }) => message.key !== 'cat')) await tickOnce(world, context)
  const message = workOf(world, 'cat')
  return { world, context, message }
}

/** The message's tries, each aborted where that is said, until it is done; the job is rescued each minute. */
async function deliver(
  { world, context, message }: { world: World; context: Context; message: WorkMessage },
  abortedAt: (tries: number) => number | undefined,
): Promise<number> {
  for (let tries = 1; tries <= triesMax; tries += 1) {
    const endsAt = abortedAt(tries)
    if (endsAt === undefined) {
      await world.clock.run(runJob(contextIn(world), message))
      return tries
    }
    void runJob(endingAt(world, endsAt), message)
    await passes(world, context, endsAt + againMs)
  }
  await world.clock.run(giveUpSlot(context, message))
  return triesMax
}

/** Time passes, with its ticks and the minute's rescue. */
async function passes(world: World, context: Context, until: number): Promise<void> {
  while (world.clock.now() < until) {
    const at = Math.min(until, world.clock.now() + 20_000)
    while (await tickOnce(world, context, at));
    await world.clock.runUntil(at)
    await world.clock.run(rescue(context))
  }
}

/** All that the job is sent is run, as it is due, until it is finished. */
async function playToEnd({ world, context }: { world: World; context: Context }): Promise<void> {
  let done = 0
  for (let steps = 0; steps < 200; steps += 1) {
    const { phase } = await jobIn(context, 'cat')
    if (!['waiting', 'slotted', 'running'].includes(phase.kind)) return
    await passes(world, context, world.clock.now() + 5_000)
    for (const { message } of world.messages.work.slice(done)) {
      world.clock.at(message.wakeAt, () => void runJob(context, message))
    }
    done = world.messages.work.length
  }
  throw new Error('the job is not finished after a quarter of an hour')
}

describe('a run that is aborted by a drain', () => {
  test.each([
    { when: 'while it is held', beforeMs: 5_000, afterMs: 2_000, paid: 1, repeated: 0 },
    // The claim is written before the call, so nobody can tell that it was not made.
    { when: 'after its claim, before the call', beforeMs: 1_100, afterMs: 1_000, paid: 1, repeated: 1 },
    { when: 'in the call', beforeMs: 1_000, afterMs: 3_000, paid: 2, repeated: 1 },
  ])('$when is recovered, and labelled where it may have been paid for', async (run) => {
    const { world, context, message } = await slotted()
    await world.clock.runUntil(message.slotAt - run.beforeMs)
    const startedAt = world.clock.now()
    const tries = await deliver({ world, context, message }, (tries) =>
      tries === 1 ? startedAt + run.afterMs : undefined,
    )
    // The second try finds that the slot has passed, or that the job was claimed: the message is done with.
    expect(tries).toBe(2)
    await playToEnd({ world, context })
    expect(await jobIn(context, 'cat')).toMatchObject({
      phase: { kind: 'succeeded' },
      attempts: 1 + run.repeated,
      possiblyRepeated: run.repeated,
    })
    expect(world.model.calls.filter(({ prompt }) => prompt.endsWith('cat'))).toHaveLength(run.paid)
    assertRowsAgree(batch, world.jobs.rows(batch))
  })

  test('ten times in a row harms nothing: its job was given another slot, and has its images', async () => {
    const { world, context, message } = await slotted()
    await world.clock.runUntil(message.wakeAt)
    // Each try ends before it can even read its job; what the job is sent since is run.
    const tries = await deliver({ world, context, message }, () => {
      for (const sent of world.messages.work.splice(0)) {
        if (sent.message.key === 'cat' && sent.message.slotAt > message.slotAt) {
          world.clock.at(sent.message.wakeAt, () => void runJob(context, sent.message))
        }
      }
      return world.clock.now()
    })
    expect(tries).toBe(triesMax)
    const job = await jobIn(context, 'cat')
    expect(job).toMatchObject({ attempts: 1, possiblyRepeated: 0, phase: { kind: 'succeeded' } })
    // A minute after its slot the rescue put it back in line: long before the tenth try.
    expect(job.slotAt).toBeLessThan(message.slotAt + 120_000)
  })

  test('gives its slot back at the tenth failure, where no rescue has been there before', async () => {
    const { world, context, message } = await slotted()
    await world.clock.runUntil(message.slotAt + triesMax * againMs)
    await world.clock.run(giveUpSlot(context, message))
    const job = await jobIn(context, 'cat')
    expect(job.attempts).toBe(0)
    expect(job.phase.kind === 'slotted' ? job.phase.slotAt : Infinity).toBeGreaterThan(message.slotAt)
  })

  test('takes nothing from the run that has the job, when its tenth failure comes in that', async () => {
    const { world, context, message } = await slotted()
    await world.clock.runUntil(message.wakeAt)
    const running = runJob(context, message)
    await world.clock.runUntil(message.slotAt + 1_000)
    await world.clock.run(giveUpSlot(contextIn(world), message))
    expect((await world.clock.run(running)).kind).toBe('succeeded')
  })

  test('in each of its calls ends with its last attempt: no job goes round for ever', async () => {
    const { world, context } = await slotted()
    let seen = 0
    for (let steps = 0; steps < 400; steps += 1) {
      const { phase } = await jobIn(context, 'cat')
      if (phase.kind === 'failed') break
      const work = world.messages.work.slice(seen).filter(({ message }) => message.key === 'cat')
      seen = world.messages.work.length
      for (const { message } of work) {
        world.clock.at(message.slotAt - 1_000, () => {
          void runJob(endingAt(world, message.slotAt + 2_000), message)
        })
      }
      await passes(world, context, world.clock.now() + 5_000)
    }
    expect(await jobIn(context, 'cat')).toMatchObject({
      attempts: context.attemptsMax,
      possiblyRepeated: context.attemptsMax - 1,
      phase: { kind: 'failed', failure: { kind: 'unknown', code: 'instance_died' } },
    })
    expect(world.model.calls).toHaveLength(context.attemptsMax)
  })
})
