import functions from '@azure/functions'
import { beforeEach, describe, expect, it, test } from 'vitest'
import { localCaller, type Caller } from '../../src/core/caller.ts'
import { claimed } from '../../src/core/jobs/transitions.ts'
import { getBatch, getBatches, patchBatch, postBatch } from '../../src/http/api/batches/batches.ts'
import { postCancel, postPause, postResume } from '../../src/http/api/batches/batch-decisions.ts'
import { getBudget } from '../../src/http/api/budget.ts'
import { postEstimate } from '../../src/http/api/estimate.ts'
import { getImage, getJob, postCancelJob, postJob } from '../../src/http/api/jobs.ts'
import type { Call, Reply } from '../../src/http/reply.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { finaliseBatch } from '../../src/pipeline/batches/finalise.ts'
import { takeMessage } from '../../src/pipeline/intake/intake.ts'
import { deployment, newWorld, contextIn, type World } from '../support/context.ts'

const studio: Caller = { key: 'studio', isAdmin: false, isReadOnly: false }
const agency: Caller = { key: 'agency', isAdmin: false, isReadOnly: false }
const ops: Caller = { key: 'ops', isAdmin: true, isReadOnly: false }

let world: World
let context: Context

beforeEach(() => {
  world = newWorld(Date.UTC(2026, 10, 23, 12, 0, 0))
  context = contextIn(world)
})

let requests = 0

type Asked = {
  params?: Record<string, string>
  query?: string
  body?: object
  headers?: Record<string, string>
}

async function ask(caller: Caller, handle: (call: Call) => Promise<Reply>, asked: Asked = {}) {
  const { params = {}, query = '', body, headers = {} } = asked
  const request = new functions.HttpRequest({
    url: `https://darkroom.example.com/x${query}`,
    method: body === undefined ? 'GET' : 'POST',
    params,
    headers,
    ...(body && { body: { string: JSON.stringify(body) } }),
  })
  const reply = await world.clock.run(handle({ request, context, id: `request-${(requests += 1)}`, caller }))
  const json: any = reply.jsonBody
  return { ...reply, json }
}

async function post(caller: Caller, body: object, headers: Record<string, string> = {}) {
  return ask(caller, postJob, { body: { prompt: 'a fox', ...body }, headers })
}

async function fromQueue(fields: object) {
  const text = JSON.stringify({ prompt: 'a fox', ...fields })
  return world.clock.run(takeMessage(context, { text, messageId: 'message-1', insertedAt: undefined }))
}

describe('what is another’s', () => {
  beforeEach(async () => {
    await post(studio, { batch: 'toys', custom_id: 'bear' })
  })

  const ofBatch = { params: { name: 'toys' } }
  const ofJob = { params: { id: 'toys.bear' } }

  it.each<[string, (call: Call) => Promise<Reply>, Asked]>([
    ['its batch', getBatch, ofBatch],
    ['its terms', patchBatch, { ...ofBatch, body: { priority: 'low' } }],
    ['a pause', postPause, { ...ofBatch, body: {} }],
    ['a resumption', postResume, { ...ofBatch, body: {} }],
    ['a cancellation', postCancel, { ...ofBatch, body: {} }],
    ['its job', getJob, ofJob],
    ['a cancellation of its job', postCancelJob, { ...ofJob, body: {} }],
    ['its image', getImage, { params: { id: 'toys.bear', k: '0' } }],
  ])('is not there: %s', async (_, handle, asked) => {
    const before = JSON.stringify([world.jobs.rows('toys'), world.budget.rows('pool')])
    const { status, json } = await ask(agency, handle, asked)
    expect(status).toBe(404)
    expect(JSON.stringify([world.jobs.rows('toys'), world.budget.rows('pool')])).toBe(before)
    // As for a batch that nobody has: names tell nothing.
    const absent = JSON.parse(JSON.stringify(asked).replaceAll('toys', 'none'))
    const unknown = await ask(agency, handle === patchBatch ? getBatch : handle, absent)
    expect(json.error).toEqual(JSON.parse(JSON.stringify(unknown.json.error).replaceAll('none', 'toys')))
  })

  it('takes no job', async () => {
    const { status, json } = await post(agency, { batch: 'toys' })
    expect([status, json.error.code, json.error.param]).toEqual([403, 'permission_denied', 'batch'])
    expect((await ask(ops, getBatch, ofBatch)).json.counts.total).toBe(1)
  })

  it('takes no edit either, and shows no job of that name', async () => {
    const edit = { batch: 'toys', custom_id: 'bear', image: { file_id: 'file-1' } }
    const { status, json } = await post(agency, edit)
    expect([status, json.error.code, json.error.param]).toEqual([403, 'permission_denied', 'batch'])
  })

  it('has no part in an estimate', async () => {
    const estimate = async (caller: Caller) =>
      (await ask(caller, postEstimate, { body: { prompt: 'a fox', batch: 'toys' } })).json
    await ask(studio, postPause, { ...ofBatch, body: {} })
    expect((await estimate(studio)).estimated_start_at).toBeNull()
    expect((await estimate(agency)).estimated_start_at).toEqual(expect.any(Number))
  })

  it('is named in no budget', async () => {
    await ask(studio, postCancel, { ...ofBatch, body: {} })
    expect(JSON.stringify((await ask(agency, getBudget)).json)).not.toContain('toys')
  })

  it('is there for its owner, and for admins', async () => {
    for (const caller of [studio, ops, localCaller]) {
      expect((await ask(caller, getBatch, ofBatch)).status).toBe(200)
      expect((await ask(caller, getJob, ofJob)).status).toBe(200)
      expect((await post(caller, { batch: 'toys', custom_id: `by-${caller.key}` })).status).toBe(202)
    }
    expect((await context.batches.readBatch('toys'))?.owner).toBe('studio')
  })
})

describe('what came by the queue', () => {
  it('belongs to nobody, so to admins', async () => {
    await fromQueue({ batch: 'toys', custom_id: 'bear' })
    expect((await ask(studio, getBatch, { params: { name: 'toys' } })).status).toBe(404)
    expect((await ask(ops, getBatch, { params: { name: 'toys' } })).status).toBe(200)
    expect((await post(studio, { batch: 'toys' })).status).toBe(403)
  })

  it('does not go to the inbox of a key', async () => {
    const taken = await fromQueue({ batch: 'inbox-2026-11-23__studio', custom_id: 'bear' })
    expect(taken).toMatchObject({ fault: { code: 'permission_denied' }, job: { batch: 'inbox-2026-11-23' } })
    expect(world.jobs.partitions()).not.toContain('inbox-2026-11-23__studio')
  })
})

describe('the list of batches', () => {
  beforeEach(async () => {
    for (const caller of [studio, agency, ops]) await post(caller, { batch: `of-${caller.key}` })
    await fromQueue({ batch: 'of-queue', custom_id: 'bear' })
  })

  const list = async (caller: Caller, query = '') => ask(caller, getBatches, { query: `?kind=all${query}` })

  it.each([
    ['a key', studio, ['of-studio']],
    ['another', agency, ['of-agency']],
    ['an admin', ops, ['of-agency', 'of-ops', 'of-queue', 'of-studio']],
    ['this machine’s user', localCaller, ['of-agency', 'of-ops', 'of-queue', 'of-studio']],
  ])('has for %s what is its own', async (_, caller, names) => {
    const { json } = await list(caller)
    expect(json.data.map(({ id }: { id: string }) => id).toSorted()).toEqual(names)
  })

  it('goes on behind nobody else’s batch, as behind one that nobody has', async () => {
    const [theirs, none] = [await list(studio, '&after=of-agency'), await list(studio, '&after=of-nobody')]
    expect(theirs).toMatchObject({ status: 400, json: { error: { param: 'after' } } })
    expect(theirs.json.error).toEqual(
      JSON.parse(JSON.stringify(none.json.error).replaceAll('of-nobody', 'of-agency')),
    )
    expect((await list(studio, '&after=of-queue')).status).toBe(400)
    expect((await list(studio, '&after=of-studio')).status).toBe(200)
    expect((await list(ops, '&after=of-agency')).status).toBe(200)
  })
})

describe('a batch by file', () => {
  async function submit(caller: Caller, owner: Caller, fields: object = {}) {
    const line = { custom_id: 'bear', method: 'POST', url: '/v1/images/generations', body: { prompt: 'a' } }
    const bytes = Buffer.from(JSON.stringify(line))
    const file = {
      filename: 'lines.jsonl',
      purpose: 'batch',
      expiresAfterMs: null,
      owner: owner.key,
    } as const
    const content = (async function* () {
      yield bytes
    })()
    const saved = await context.files.save({ ...file, content, sizeBytesMax: bytes.length })
    const id = saved.kind === 'saved' ? saved.file.id : ''
    const body = { input_file_id: id, endpoint: '/v1/images/generations', ...fields }
    return ask(caller, postBatch, { body })
  }

  it.each([
    ['a key', studio, '~studio/toys/'],
    ['an admin', ops, 'toys/'],
    ['this machine’s user', localCaller, 'toys/'],
  ])('has its images, with a prefix of %s, where nobody else’s can be', async (_, caller, prefix) => {
    const { status, json } = await submit(caller, caller, { output_prefix: 'toys/' })
    expect([status, json.output_prefix]).toEqual([200, prefix])
    await world.clock.runUntil(world.clock.now() + 1_000)
    const job = await context.jobs.get({ batch: json.id, key: 'bear' })
    expect(job?.job.output?.startsWith(prefix)).toBe(true)
  })

  it.each(['~agency/toys/', '../agency/', 'toys/../../agency/', '/toys/'])(
    'has its images below no name that could be another’s: %s',
    async (prefix) => {
      for (const caller of [studio, ops]) {
        const refused = await submit(caller, caller, { output_prefix: prefix })
        expect(refused).toMatchObject({ status: 400, json: { error: { param: 'output_prefix' } } })
      }
    },
  )

  it('has result files that are its sender’s, whoever writes them', async () => {
    const { json } = await submit(studio, studio)
    await world.clock.runUntil(world.clock.now() + 1_000)
    await ask(ops, postCancel, { params: { name: json.id }, body: {} })
    await world.clock.run(finaliseBatch(context, json.id))
    const ended = (await ask(studio, getBatch, { params: { name: json.id } })).json
    expect(ended.status).toBe('cancelled')
    expect((await context.files.get(ended.error_file_id))?.owner).toBe('studio')
  })

  it('is its sender’s, and of its sender’s file', async () => {
    const { json } = await submit(studio, studio)
    const ofBatch = { params: { name: json.id } }
    expect((await ask(studio, getBatch, ofBatch)).status).toBe(200)
    expect((await ask(agency, getBatch, ofBatch)).status).toBe(404)
    for (const owner of [agency, ops, localCaller]) {
      const theirs = await submit(studio, owner)
      expect(theirs).toMatchObject({ status: 400, json: { error: { param: 'input_file_id' } } })
      expect((await submit(ops, owner)).status).toBe(200)
    }
  })
})

describe('the inbox', () => {
  it('is one for each key', async () => {
    const ids = []
    for (const caller of [localCaller, studio, agency, ops]) {
      const { json } = await post(caller, { custom_id: 'bear' })
      ids.push(json.id)
    }
    expect(ids).toEqual([
      'inbox-2026-11-23.bear',
      'inbox-2026-11-23__studio.bear',
      'inbox-2026-11-23__agency.bear',
      'inbox-2026-11-23__ops.bear',
    ])
  })

  it.each(['inbox-2026-11-24__agency', 'inbox-2026-11-24', 'inbox-2026-11-24_gpt-image-2'])(
    'is nobody else’s to open: %s',
    async (batch) => {
      expect(await post(studio, { batch })).toMatchObject({
        status: 403,
        json: { error: { code: 'permission_denied', param: 'batch' } },
      })
      const patched = await ask(studio, patchBatch, { params: { name: batch }, body: { priority: 'high' } })
      expect(patched.status).toBe(404)
      expect(world.jobs.partitions()).toEqual([])
    },
  )

  it('may be named by its key', async () => {
    expect((await post(agency, { batch: 'inbox-2026-11-24__agency' })).status).toBe(202)
  })
})

describe('an Idempotency-Key', () => {
  const key = { 'idempotency-key': 'order-17' }

  it('means what its own key meant by it', async () => {
    const first = await post(studio, { batch: 'toys' }, key)
    const others = await post(ops, { batch: 'toys', prompt: 'a wolf' }, key)
    expect([first.status, others.status]).toEqual([202, 202])
    expect(others.json.id).not.toBe(first.json.id)
    const again = await post(studio, { batch: 'toys' }, key)
    expect([again.json.id, again.headers['idempotent-replayed']]).toEqual([first.json.id, 'true'])
  })

  it('finds yesterday’s job in the inbox of its key only', async () => {
    const first = await post(studio, {}, key)
    await world.clock.runUntil(Date.UTC(2026, 10, 24, 0, 0, 5))
    expect((await post(studio, {}, key)).json.id).toBe(first.json.id)
    expect((await post(agency, {}, key)).json.id).toMatch(/^inbox-2026-11-24__agency\./)
  })
})

test('terms may be given before the first job, and are then their giver’s', async () => {
  const asked = { params: { name: 'toys' }, body: { cap_usd: 1 } }
  expect((await ask(studio, patchBatch, asked)).status).toBe(200)
  expect((await ask(agency, patchBatch, asked)).status).toBe(404)
  expect((await post(agency, { batch: 'toys' })).status).toBe(403)
  expect((await post(studio, { batch: 'toys' })).status).toBe(202)
})

test('of two who give terms to one name at once, one does, and its terms stand', async () => {
  const asked = (priority: string): Asked => ({ params: { name: 'toys' }, body: { priority } })
  expect((await ask(studio, patchBatch, asked('high'))).status).toBe(200)
  // As the other instance saw it, a moment before.
  const { batches } = context
  context = contextIn(world, { batches: { ...batches, readBatch: async () => undefined } })
  expect((await ask(agency, patchBatch, asked('low'))).status).toBe(404)
  context = contextIn(world)
  expect((await ask(studio, getBatch, { params: { name: 'toys' } })).json.priority).toBe('high')
})

test('who owns a batch is read once, and never for admins', async () => {
  await post(studio, { batch: 'toys', custom_id: 'bear' })
  let reads = 0
  const { batches } = context
  const counted = {
    ...batches,
    readBatch: async (name: string) => ((reads += 1), batches.readBatch(name)),
  }
  context = contextIn(world, { batches: counted })
  for (let poll = 0; poll < 3; poll += 1) await ask(ops, getBatch, { params: { name: 'toys' } })
  expect(reads).toBe(0)
  for (let poll = 0; poll < 3; poll += 1) await ask(studio, getBatch, { params: { name: 'toys' } })
  expect(reads).toBe(1)
})

describe('a poll says when to ask again', () => {
  it('of what is unfinished', async () => {
    await post(studio, { batch: 'toys', custom_id: 'bear' })
    const job = await ask(studio, getJob, { params: { id: 'toys.bear' } })
    const batch = await ask(studio, getBatch, { params: { name: 'toys' } })
    for (const { headers } of [job, batch]) {
      const seconds = Number(headers['retry-after'])
      expect(seconds).toBeGreaterThanOrEqual(1)
      // Not when a call as long as usual would be over.
      expect(seconds).toBeLessThan(10)
    }
    await ask(studio, postPause, { params: { name: 'toys' }, body: {} })
    const paused = await ask(studio, getBatch, { params: { name: 'toys' } })
    expect(paused.headers['retry-after']).toBe('60')
  })

  it('soon, of calls that may be over at any moment', async () => {
    await post(studio, { batch: 'toys', custom_id: 'bear' })
    const before = (await context.jobs.get({ batch: 'toys', key: 'bear' }))!
    const slotAt = world.clock.now()
    const running = claimed(before.job, { slotAt, deployment, leaseUntil: slotAt + 60_000 })!
    expect(await context.jobs.change(before, running)).toBeDefined()
    const job = await ask(studio, getJob, { params: { id: 'toys.bear' } })
    const batch = await ask(studio, getBatch, { params: { name: 'toys' } })
    expect([job.headers['retry-after'], batch.headers['retry-after']]).toEqual(['2', '2'])
  })

  it('and not of what is over', async () => {
    await post(studio, { batch: 'toys', custom_id: 'bear' })
    await ask(studio, postCancelJob, { params: { id: 'toys.bear' }, body: {} })
    for (const [handle, params] of [
      [getJob, { id: 'toys.bear' }],
      [getBatch, { name: 'toys' }],
    ] as const) {
      expect((await ask(studio, handle, { params })).headers).not.toHaveProperty('retry-after')
    }
  })
})
