import { expect, test } from 'vitest'
import { inputBlobName } from '../../../src/core/requests/input-ref.ts'
import { limits } from '../../../src/core/limits.ts'
import { timing } from '../../../src/core/timing.ts'
import { cancelJob } from '../../../src/pipeline/running/cancel-job.ts'
import { takeMessage } from '../../../src/pipeline/intake/intake.ts'
import { sweepInputs } from '../../../src/pipeline/intake/sweep-inputs.ts'
import { batch, messageOf, newWorld, contextIn } from '../../support/context.ts'

const bytes = new Uint8Array([1])
const blobOf = (key: string): string => inputBlobName({ batch, key }, { index: 0, fingerprint: 'ab12' })

test('images of jobs go when their jobs are long finished, and no others', async () => {
  const world = newWorld()
  const context = contextIn(world)
  for (const key of ['cancelled', 'late', 'waiting']) {
    await world.clock.run(takeMessage(context, messageOf(key)))
    await context.inputs.keep(blobOf(key), bytes)
  }
  for (const name of ['mine.png', blobOf('never-came'), '~kept/other.png'])
    await context.inputs.keep(name, bytes)
  await world.clock.run(cancelJob(context, { batch, key: 'cancelled' }))
  await world.clock.runUntil(world.clock.now() + timing.inputsKeptMs - 60_000)
  await world.clock.run(cancelJob(context, { batch, key: 'late' }))
  await context.inputs.keep(blobOf('young'), bytes)
  expect(await world.clock.run(sweepInputs(context))).toBe(0)
  await world.clock.runUntil(world.clock.now() + 120_000)
  expect(await world.clock.run(sweepInputs(context))).toBe(2)
  const left = ['mine.png', '~kept/other.png', ...['late', 'waiting', 'young'].map(blobOf)]
  expect([...world.inputs.blobs.keys()].sort()).toEqual(left.sort())
  await world.clock.runUntil(world.clock.now() + timing.inputsKeptMs)
  expect(await world.clock.run(sweepInputs(context))).toBe(2)
  expect(world.inputs.blobs.has(blobOf('waiting'))).toBe(true)
})

test('a run ends before its function must, and the next goes on', async () => {
  const world = newWorld()
  const count = 3 * limits.sweptAtOnce
  const context = contextIn(world)
  for (let index = 0; index < count; index += 1) await context.inputs.keep(blobOf(`job-${index}`), bytes)
  await world.clock.runUntil(world.clock.now() + timing.inputsKeptMs + 1)
  const remove = async (name: string): Promise<void> => {
    await world.clock.sleepUntil(world.clock.now() + timing.sweepMs / 2)
    await world.inputs.remove(name)
  }
  const slow = contextIn(world, { inputs: { ...world.inputs, remove } })
  expect(await world.clock.run(sweepInputs(slow))).toBe(2 * limits.sweptAtOnce)
  expect(await world.clock.run(sweepInputs(context))).toBe(limits.sweptAtOnce)
})
