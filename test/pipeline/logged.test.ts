import { expect, test } from 'vitest'
import type { LogEvent, LogFacts } from '../../src/core/log-event.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { takeMessage } from '../../src/pipeline/intake/intake.ts'
import { pauseBatch } from '../../src/pipeline/batches/batches.ts'
import { reportPools } from '../../src/pipeline/pacing/pool-report.ts'
import { runJob } from '../../src/pipeline/running/worker.ts'
import { batch, deployment, messageOf, newWorld, contextIn, workOf, type World } from '../support/context.ts'
import { fails, pictures } from '../support/scripted-model.ts'

type Logged = LogFacts & { readonly event: LogEvent }

async function slotted(world: World): Promise<{ readonly context: Context; readonly events: Logged[] }> {
  const events: Logged[] = []
  const context = contextIn(world, {
    log: { event: (event, facts) => void events.push({ event, ...facts }) },
  })
  await world.clock.run(takeMessage(context, messageOf('cat')))
  return { context, events }
}

test('a run that succeeds is one event, with how long its parts took and what it cost', async () => {
  const world = newWorld()
  const { context, events } = await slotted(world)
  world.model.script.push(pictures(1, 'cat'))
  const message = workOf(world, 'cat')
  await world.clock.runUntil(message.wakeAt + 250)
  await world.clock.run(runJob(context, message))
  expect(events.filter(({ event }) => event === 'run')).toEqual([
    {
      event: 'run',
      job: `${batch}.cat`,
      batch,
      pool: 'pool',
      deployment,
      outcome: 'succeeded',
      code: null,
      images: 1,
      wakeLateMs: 250,
      attempt: 1,
      claimMs: expect.any(Number),
      slotLateMs: expect.any(Number),
      callMs: expect.any(Number),
      status: 200,
      storeMs: expect.any(Number),
      bytes: expect.any(Number),
      tokensOut: expect.any(Number),
      microUsd: expect.any(Number),
    },
  ])
})

test('a run that comes to nothing says why in a code, and never in the model’s words', async () => {
  const world = newWorld()
  const { context, events } = await slotted(world)
  world.model.script.push(fails('unavailable', { code: 'PermissionDenied', status: 401 }))
  const message = workOf(world, 'cat')
  await world.clock.runUntil(message.wakeAt)
  await world.clock.run(runJob(context, message))
  const told = events.filter(({ event }) => ['deployment_stopped', 'run'].includes(event))
  expect(told).toMatchObject([
    { event: 'deployment_stopped', deployment, code: 'PermissionDenied' },
    { event: 'run', outcome: 'snoozed', code: 'PermissionDenied', status: 401, attempt: 1 },
  ])
  expect(told[1]).not.toHaveProperty('storeMs')
})

test('a pool with work is one event, and an idle one says nothing', async () => {
  const world = newWorld()
  const { context, events } = await slotted(world)
  await world.clock.run(takeMessage(context, messageOf('dog')))
  events.length = 0
  await world.clock.run(reportPools(context))
  expect(events).toEqual([
    expect.objectContaining({
      event: 'pool',
      pool: 'pool',
      waiting: 2,
      running: 0,
      batches: 1,
      halted: 0,
      slotsLastMinute: 0,
      quotas: 1,
      stopped: 0,
      paused: 0,
      open: 1,
    }),
  ])
  await world.clock.run(pauseBatch(context, batch, 'lunch'))
  await world.clock.run(reportPools(context))
  // What somebody paused does not wait for anything of ours.
  expect(events.at(-1)).toMatchObject({ event: 'pool', waiting: 0, batches: 0, halted: 1 })

  const idle = newWorld()
  const silent: Logged[] = []
  await idle.clock.run(
    reportPools(contextIn(idle, { log: { event: (event) => void silent.push({ event }) } })),
  )
  expect(silent).toEqual([])
})
