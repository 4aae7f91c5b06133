import { localCaller } from '../../../src/core/caller.ts'
import { createCanvas } from '@napi-rs/canvas'
import { beforeEach, describe, expect, test } from 'vitest'
import { readHostPatterns } from '../../../src/core/destination.ts'
import { limits } from '../../../src/core/limits.ts'
import { profileOfDeployment } from '../../../src/core/requests/profiles.ts'
import { submissionParser } from '../../../src/core/requests/submission-parser.ts'
import { decodeBase64 } from '../../../src/model/base64.ts'
import { timing } from '../../../src/core/timing.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { checkInputs, noInputsSeen } from '../../../src/pipeline/intake/inputs.ts'
import {
  takeMessage,
  takeRequest,
  type Accepted,
  type TakenRequest,
} from '../../../src/pipeline/intake/intake.ts'
import { runTick } from '../../../src/pipeline/pacing/pacer.ts'
import type { RunOutcome } from '../../../src/pipeline/running/run-end.ts'
import { runJob } from '../../../src/pipeline/running/worker.ts'
import type { OutgoingAnswer } from '../../../src/ports/outgoing.ts'
import { assertRowsAgree } from '../../support/laws.ts'
import { dataUrl, png } from '../../support/png.ts'
import {
  batch,
  deployment,
  jobIn,
  messageOf,
  newWorld,
  phaseOf,
  contextIn,
  workOf,
  type World,
  setInUse,
} from '../../support/context.ts'

const hosts = readHostPatterns('img.example.com')
const parse = submissionParser({
  decodeBase64,
  pools: [{ pool: 'pool', profile: profileOfDeployment(deployment), names: [] }],
  inputHosts: hosts.kind === 'patterns' ? hosts.patterns : [],
})

const fox = png()
const hat = png({ colourType: 4 })

let world: World
let context: Context

beforeEach(async () => {
  world = newWorld(Date.UTC(2026, 10, 23, 23, 59, 0))
  context = contextIn(world, { parse })
  await world.inputs.keep('fox.png', fox)
  await world.inputs.keep('hat.png', hat)
})

async function take(fields: object, key = 'cat'): Promise<Accepted> {
  return world.clock.run(takeMessage(context, messageOf(key, fields)))
}

async function ask(body: object, own: { filesOf?: string; key?: string } = {}): Promise<TakenRequest> {
  const { filesOf, key: idempotencyKey } = own
  const caller = filesOf === undefined ? localCaller : { key: filesOf, isAdmin: false, isReadOnly: false }
  const text = JSON.stringify({ prompt: 'a hat', ...body })
  return world.clock.run(takeRequest(context, { text, idempotencyKey, requestId: 'r', caller }))
}

async function upload(owner: string | null, bytes: Buffer): Promise<string> {
  const content = (async function* pieces() {
    yield bytes.subarray(0, 10)
    yield bytes.subarray(10)
  })()
  const facts = { owner, filename: 'a.png', purpose: 'vision', expiresAfterMs: null } as const
  const saved = await world.clock.run(context.files.save({ ...facts, sizeBytesMax: 1e9, content }))
  if (saved.kind !== 'saved') throw new Error('it was not saved')
  return saved.file.id
}

/** Runs the job at the slot that it has, or gets. */
async function run(key = 'cat', on = context): Promise<RunOutcome> {
  for (let ticks = 0; (await jobIn(context, key)).phase.kind !== 'slotted'; ticks += 1) {
    if (ticks === 100) throw new Error(`job ${key} got no slot`)
    const { epoch, dueAt } = (await context.budgets.readTick('pool'))!
    await world.clock.runUntil(dueAt ?? world.clock.now())
    await world.clock.run(runTick(context, { pool: 'pool', epoch }))
  }
  const message = workOf(world, key)
  await world.clock.runUntil(message.wakeAt)
  const outcome = await world.clock.run(runJob(on, message))
  assertRowsAgree(batch, world.jobs.rows(batch))
  return outcome
}

describe('an edit', () => {
  test('is called at its slot with the images that its blobs and files hold', async () => {
    const id = await upload('somebody', fox)
    await take({ image: [id, 'hat.png'], mask: 'hat.png' })
    expect((await run()).kind).toBe('succeeded')
    const [call] = world.model.calls
    expect(call?.startedAt).toBe(workOf(world, 'cat').slotAt)
    expect(call?.inputs).toEqual({
      images: [
        { bytes: new Uint8Array(fox), format: 'png' },
        { bytes: new Uint8Array(hat), format: 'png' },
      ],
      mask: { bytes: new Uint8Array(hat), format: 'png' },
    })
    expect(context.capacity.inputs.inUse()).toBe(0)
  })

  test('that brings its images keeps them as blobs of its own before it is written', async () => {
    const order: string[] = []
    context = {
      ...context,
      inputs: {
        ...context.inputs,
        async keep(name, bytes) {
          order.push((await context.jobs.get({ batch, key: 'cat' })) === undefined ? 'before' : 'after')
          return world.inputs.keep(name, bytes)
        },
      },
    }
    await take({ image: [dataUrl(fox), 'hat.png'], mask: dataUrl(hat) })
    expect(order).toEqual(['before', 'before'])
    const { request } = await jobIn(context, 'cat')
    const names = [0, 2].map((index) =>
      expect.stringMatching(new RegExp(`^~kept/${batch}/cat-in-${index}-[0-9a-f]{32}$`)),
    )
    expect(request?.inputs).toEqual({
      images: [
        { kind: 'blob', name: names[0] },
        { kind: 'blob', name: 'hat.png' },
      ],
      mask: { kind: 'blob', name: names[1] },
    })
    expect((await run()).kind).toBe('succeeded')
    expect(world.model.calls[0]?.inputs?.images[0]?.bytes).toEqual(new Uint8Array(fox))
  })

  test('sent again is the same job, also after midnight, and one with another image is not', async () => {
    const first = await ask({ image: dataUrl(fox) }, { key: 'k' })
    expect(first).toMatchObject({ kind: 'taken', isNew: true, isSame: true })
    const kept = world.inputs.blobs.size
    expect(await ask({ image: dataUrl(fox) }, { key: 'k' })).toMatchObject({ isNew: false, isSame: true })
    expect(await ask({ image: dataUrl(hat) }, { key: 'k' })).toMatchObject({ isNew: false, isSame: false })
    await world.clock.runUntil(world.clock.now() + 120_000)
    expect(await ask({ image: dataUrl(fox) }, { key: 'k' })).toMatchObject({ isNew: false, isSame: true })
    expect(world.inputs.blobs.size).toBe(kept)
  })

  test('delivered again when its image is gone is still the job that it was', async () => {
    await take({ image: 'fox.png' })
    world.inputs.blobs.delete('fox.png')
    expect(await take({ image: 'fox.png' })).toMatchObject({ isNew: false, fault: undefined })
  })

  test('may start only from the files of its key', async () => {
    const id = await upload('anna', fox)
    expect(await ask({ image: id, custom_id: 'a' }, { filesOf: 'anna' })).toMatchObject({ kind: 'taken' })
    expect(await ask({ image: id, custom_id: 'b' })).toMatchObject({ kind: 'taken' })
    const fault = { param: 'image', code: 'input_not_found', message: `image: there is no file ${id}` }
    for (const filesOf of ['ben', 'cleo']) {
      expect(await ask({ image: id, custom_id: 'c' }, { filesOf })).toEqual({ kind: 'invalid', fault })
    }
  })
})

describe('at intake', () => {
  test.each<[object, object]>([
    [
      { image: 'none.png' },
      {
        param: 'image',
        code: 'input_not_found',
        message: 'image: there is no blob "none.png" in the container inputs',
      },
    ],
    [
      { image: ['fox.png', 'file-none'] },
      { param: 'image.1', message: 'image.1: there is no file file-none' },
    ],
    [
      { image: 'fox.png', mask: 'none.png' },
      { param: 'mask', code: 'input_not_found' },
    ],
    [
      { image: 'fox.png', mask: dataUrl(png({ width: 32 })) },
      {
        param: 'mask',
        code: 'invalid_mask',
        message: 'mask: got 32x64; allowed: 64x64, the size of the first image',
      },
    ],
    [{ image: dataUrl(Buffer.from('text')) }, { param: 'image', code: 'invalid_image' }],
  ])('%j is refused', async (fields, fault) => {
    expect(await ask(fields)).toMatchObject({ kind: 'invalid', fault })
    expect(await context.batches.getBatch('inbox-2026-11-23')).toBeUndefined()
    const { job } = await take(fields)
    expect(job.phase).toMatchObject({ kind: 'failed', failure: { kind: 'invalid' } })
    expect(world.model.calls).toEqual([])
  })

  test('the mask that many jobs share is looked at once, and again when storage was away', async () => {
    let reads = 0
    let isAway = true
    const watched: Context = {
      ...context,
      inputs: {
        ...context.inputs,
        async read(name, bytesMax) {
          reads += 1
          if (isAway) throw new Error('storage is away')
          return world.inputs.read(name, bytesMax)
        },
      },
    }
    const seen = noInputsSeen()
    const check = async (image: string, mask: string) => {
      const parsed = parse(JSON.stringify({ prompt: 'a hat', image, mask }))
      if (parsed.kind === 'invalid') throw new Error(parsed.fault.message)
      return checkInputs(watched, parsed.submission, { owner: undefined, seen })
    }
    await expect(check('fox.png', 'hat.png')).rejects.toThrow('storage is away')
    isAway = false
    for (let line = 0; line < 50; line += 1) expect(await check('fox.png', 'hat.png')).toBeUndefined()
    expect(reads).toBe(3)
    for (let line = 0; line < limits.inputsSeenMax + 5; line += 1) await check(`none-${line}.png`, 'hat.png')
    expect(seen.size).toBeLessThanOrEqual(limits.inputsSeenMax)
  })
})

test('what was seen of a file for its owner is not seen for another', async () => {
  const image = await upload('studio', fox)
  const parsed = parse(JSON.stringify({ prompt: 'a hat', image: { file_id: image } }))
  if (parsed.kind === 'invalid') throw new Error(parsed.fault.message)
  const seen = noInputsSeen()
  const check = async (owner: string | undefined) =>
    world.clock.run(checkInputs(context, parsed.submission, { owner, seen }))
  for (const owner of ['studio', undefined]) expect(await check(owner)).toBeUndefined()
  expect(await check('agency')).toMatchObject({ code: 'input_not_found' })
})

describe('at its slot', () => {
  test.each<[string, (inputs: World['inputs']) => unknown, string]>([
    ['gone', (inputs) => inputs.blobs.delete('hat.png'), 'input_not_found'],
    ['of another size', async (inputs) => inputs.keep('hat.png', png({ height: 65 })), 'invalid_mask'],
  ])(
    'an edit whose mask is %s by then fails, with nothing sent and no attempt counted',
    async (_, spoil, code) => {
      await take({ image: 'fox.png', mask: 'hat.png' })
      await spoil(world.inputs)
      expect(await run()).toEqual({ kind: 'failed', code })
      const { failure } = await phaseOf(context, { key: 'cat' }, 'failed')
      expect(failure).toMatchObject({ kind: 'invalid', code, message: expect.stringMatching(/^mask: /) })
      expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 0, startedAt: null, unsureMicroUsd: 0 })
      expect(world.model.calls).toEqual([])
      // The next one is not held up.
      await take({ image: 'fox.png' }, 'dog')
      expect((await run('dog')).kind).toBe('succeeded')
    },
  )

  test('images that come too late cost the slot, and do not raise the lead', async () => {
    await take({ image: 'fox.png' })
    const slow: Context = {
      ...context,
      inputs: {
        ...context.inputs,
        async read(name, bytesMax) {
          await world.clock.sleepUntil(world.clock.now() + timing.leadMs + 1_000)
          return world.inputs.read(name, bytesMax)
        },
      },
    }
    const { leadMs } = (await context.budgets.readLedger({ pool: 'pool', quota: deployment }))!.value
    const outcome = await run('cat', slow)
    const ledger = (await context.budgets.readLedger({ pool: 'pool', quota: deployment }))!.value
    expect(ledger.leadMs).toBe(leadMs)
    // The ledger had a slot at once: nobody else waits.
    expect(outcome.kind).toBe('succeeded')
    expect(world.model.calls[0]?.startedAt).toBeGreaterThan(workOf(world, 'cat').slotAt)
  })

  test('an instance with its hands full of images gives the slot back', async () => {
    await take({ image: 'fox.png' })
    setInUse(context.capacity.inputs, limits.inputsInHandBytesMax)
    expect(await run()).toMatchObject({ kind: 'snoozed' })
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 0 })
    setInUse(context.capacity.inputs, 0)
    expect((await run()).kind).toBe('succeeded')
  })
})

describe('an image at another host', () => {
  const url = 'https://img.example.com/fox.png?sig=secret'
  let asked: { url: string; redirectsMax: number }[]

  function answering(...answers: OutgoingAnswer[]): Context {
    asked = []
    return {
      ...context,
      async fetchInput(request) {
        asked.push(request)
        return answers.length > 1 ? answers.shift()! : answers[0]!
      },
    }
  }

  const answer = (status: number, body: Uint8Array = fox): OutgoingAnswer => ({
    kind: 'answer',
    status,
    headers: {},
    body,
  })

  test('is fetched before the call, once for all attempts', async () => {
    await take({ image: url, mask: 'hat.png' })
    const on = answering(answer(200))
    world.model.script.push({
      kind: 'failure',
      failure: {
        kind: 'transient',
        code: '500',
        message: 'again',
        status: 500,
        requestId: undefined,
        cause: 'rate',
        retryAfterMs: null,
        limitRpm: null,
      },
    })
    expect((await run('cat', on)).kind).toBe('retried')
    expect((await run('cat', on)).kind).toBe('succeeded')
    expect(asked).toMatchObject([{ url, method: 'GET' }])
    expect(world.model.calls[1]?.inputs?.images[0]?.bytes).toEqual(new Uint8Array(fox))
  })

  test('that does not answer is asked again, up to the most attempts', async () => {
    await take({ image: url })
    const on = answering({ kind: 'failed', code: 'timeout' }, answer(503))
    expect(await run('cat', on)).toMatchObject({ kind: 'retried', code: 'input_unreachable' })
    expect(await jobIn(context, 'cat')).toMatchObject({ attempts: 0, postponements: 1 })
    expect((await run('cat', on)).kind).toBe('retried')
    expect(await run('cat', on)).toEqual({ kind: 'failed', code: 'input_unreachable' })
    const { failure } = await phaseOf(context, { key: 'cat' }, 'failed')
    expect(failure.message).toBe('image: img.example.com answered 503')
    expect((await jobIn(context, 'cat')).attempts).toBe(0)
    expect(world.model.calls).toEqual([])
  })

  test('and then does is called', async () => {
    await take({ image: url })
    const on = answering({ kind: 'failed', code: 'ECONNRESET' }, answer(200))
    expect((await run('cat', on)).kind).toBe('retried')
    expect((await run('cat', on)).kind).toBe('succeeded')
  })

  const jpeg = createCanvas(64, 64).toBuffer('image/jpeg')
  test.each<[string, OutgoingAnswer, string]>([
    ['is not there', answer(404), 'input_refused'],
    ['redirects on and on', answer(302), 'input_refused'],
    ['is too large', { kind: 'failed', code: 'too_large' }, 'input_refused'],
    ['may not be asked', { kind: 'refused', why: 'is not a public one' }, 'input_refused'],
    ['is no image', answer(200, Buffer.from('<html>')), 'invalid_image'],
    [
      'is of another size than its mask',
      answer(200, createCanvas(10, 10).toBuffer('image/png')),
      'invalid_mask',
    ],
  ])('that %s fails the job, and its address is not told', async (_, given, code) => {
    await take({ image: url, mask: 'hat.png' })
    expect(await run('cat', answering(given))).toEqual({ kind: 'failed', code })
    const { failure } = await phaseOf(context, { key: 'cat' }, 'failed')
    expect(failure.kind).toBe('invalid')
    expect(failure.message).not.toContain('secret')
    expect(world.model.calls).toEqual([])
  })

  test('may be a jpeg', async () => {
    await take({ image: url, mask: 'hat.png' })
    expect((await run('cat', answering(answer(200, jpeg)))).kind).toBe('succeeded')
    expect(world.model.calls[0]?.inputs?.images[0]?.format).toBe('jpeg')
  })
})
