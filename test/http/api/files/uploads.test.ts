import { createHash } from 'node:crypto'
import functions from '@azure/functions'
import { text as textOf } from 'node:stream/consumers'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Caller } from '../../../../src/core/caller.ts'
import { limits } from '../../../../src/core/limits.ts'
import { getFile } from '../../../../src/http/api/files/files.ts'
import type { Call, Reply } from '../../../../src/http/reply.ts'
import {
  cancelUpload,
  completeUpload,
  postUpload,
  postUploadPart,
} from '../../../../src/http/api/files/uploads.ts'
import type { Context } from '../../../../src/pipeline/context.ts'
import { newWorld, contextIn, type World, setInUse } from '../../../support/context.ts'

const startAt = Date.UTC(2026, 10, 23, 12)
const hourMs = 3_600_000
const shop: Caller = { key: 'shop', isAdmin: false, isReadOnly: false }
const other: Caller = { key: 'other', isAdmin: false, isReadOnly: false }
const admin: Caller = { key: 'boss', isAdmin: true, isReadOnly: false }

let world: World
let context: Context

beforeEach(() => {
  world = newWorld(startAt)
  context = contextIn(world)
})

type Asked = {
  readonly id?: string
  readonly json?: unknown
  readonly form?: FormData
  readonly headers?: Record<string, string>
  readonly caller?: Caller
}

async function ask(
  handle: (call: Call) => Promise<Reply>,
  { id = '', json, form, headers = {}, caller = shop }: Asked,
): Promise<Reply & { json: any; isRead: boolean }> {
  const encoded = new Response(form ?? JSON.stringify(json))
  const type = form === undefined ? 'application/json' : (encoded.headers.get('content-type') ?? '')
  const request = new functions.HttpRequest({
    url: 'https://darkroom.example.com/v1/uploads',
    method: 'POST',
    params: { id },
    headers: { 'content-type': type, ...headers },
    body: { bytes: new Uint8Array(await encoded.arrayBuffer()) },
  })
  const reply = await handle({ request, context, id: 'request-1', caller })
  return { ...reply, json: reply.jsonBody, isRead: request.bodyUsed }
}

const order = { bytes: 8, filename: 'lines.jsonl', mime_type: 'application/jsonl', purpose: 'batch' }

async function opened(own: object = {}, caller = shop): Promise<string> {
  return (await ask(postUpload, { json: { ...order, ...own }, caller })).json.id
}

/** The fields in their order; a pair of name and text is a file. */
function formOf(...fields: readonly (readonly [string, string | readonly [string, string]])[]): FormData {
  const form = new FormData()
  for (const [name, value] of fields) {
    if (typeof value === 'string') form.append(name, value)
    else form.append(name, new File([value[1]], value[0]))
  }
  return form
}

async function sent(id: string, text: string, caller = shop) {
  return ask(postUploadPart, { id, form: formOf(['data', ['blob', text]]), caller })
}

async function added(id: string, text: string): Promise<string> {
  const { status, json } = await sent(id, text)
  expect(status).toBe(200)
  return json.id
}

const complete = async (id: string, ids: readonly string[], own: object = {}, caller = shop) =>
  ask(completeUpload, { id, json: { part_ids: ids, ...own }, caller })

const seconds = startAt / 1_000

test('an upload is made, gets parts, and is completed, all in OpenAI’s shapes', async () => {
  const { status, json: upload } = await ask(postUpload, { json: order })
  const shape = {
    id: expect.stringMatching(/^upload_[0-9a-z]+$/),
    object: 'upload',
    bytes: 8,
    created_at: seconds,
    filename: 'lines.jsonl',
    purpose: 'batch',
    status: 'pending',
    expires_at: seconds + 3_600,
  }
  expect([status, upload]).toEqual([200, shape])
  await world.clock.runUntil(startAt + 5_000)
  const parts = [await sent(upload.id, 'efgh'), await sent(upload.id, 'abcd')]
  for (const { status, json } of parts) {
    const id = expect.stringMatching(/^part_[0-9a-z]+$/)
    const part = { id, object: 'upload.part', created_at: seconds + 5, upload_id: upload.id }
    expect([status, json]).toEqual([200, part])
  }
  await world.clock.runUntil(startAt + 9_000)
  const completed = await complete(upload.id, [parts[1]!.json.id, parts[0]!.json.id])
  const file = {
    id: expect.stringMatching(/^file-[0-9a-z]+$/),
    object: 'file',
    bytes: 8,
    created_at: seconds + 9,
    expires_at: seconds + 9 + 30 * 86_400,
    filename: 'lines.jsonl',
    purpose: 'batch',
    status: 'processed',
  }
  expect([completed.status, completed.json]).toEqual([200, { ...shape, status: 'completed', file }])
  const { id } = completed.json.file
  expect((await ask(getFile, { id })).json).toEqual(completed.json.file)
  expect(await textOf((await context.files.read(id))!)).toBe('abcdefgh')
})

describe('POST /v1/uploads', () => {
  test.each([
    [{ purpose: 'vision', bytes: limits.visionFileBytesMax }, null],
    [{ bytes: limits.batchFileBytesMax, mime_type: 'text/plain' }, 30 * 86_400],
    [{ expires_after: { anchor: 'created_at', seconds: 3_600 } }, 3_600],
    [{ expires_after: null, filename: '線 "a".jsonl' }, 30 * 86_400],
  ])('takes %j', async (own, expiresAfterSeconds) => {
    const { status, json } = await ask(postUpload, { json: { ...order, ...own } })
    expect(status).toBe(200)
    expect((await context.uploads.get(json.id))?.fileExpiresAfterMs).toBe(
      expiresAfterSeconds === null ? null : expiresAfterSeconds * 1_000,
    )
  })

  test.each([
    ['../../../x.jsonl', 'x.jsonl'],
    ['C:\\lines\\x.jsonl', 'x.jsonl'],
    ['lines/', 'file'],
  ])('a name is without folders: %s', async (filename, kept) => {
    expect((await ask(postUpload, { json: { ...order, filename } })).json.filename).toBe(kept)
  })

  test.each([
    [{ bytes: undefined }, 'bytes', 'missing_required_parameter', 'it is missing'],
    [{ bytes: 0 }, 'bytes', 'invalid_value', 'at least 1'],
    [{ bytes: 1.5 }, 'bytes', 'invalid_value', 'a whole number'],
    [{ bytes: '8' }, 'bytes', 'invalid_value', 'a number'],
    [
      { bytes: limits.batchFileBytesMax + 1 },
      'bytes',
      'file_too_large',
      'got 209715201; allowed: at most 209715200 for the purpose batch',
    ],
    [
      { purpose: 'vision', bytes: limits.visionFileBytesMax + 1 },
      'bytes',
      'file_too_large',
      'at most 52428800 for the purpose vision',
    ],
    [{ filename: '' }, 'filename', 'invalid_value', 'at least 1 character'],
    [{ filename: 'x'.repeat(256) }, 'filename', 'invalid_value', 'at most 255 characters'],
    [{ filename: 'a\u0000b' }, 'filename', 'invalid_value', 'without control characters'],
    [{ mime_type: undefined }, 'mime_type', 'missing_required_parameter', 'it is missing'],
    [{ purpose: 'fine-tune' }, 'purpose', 'invalid_value', 'batch, vision'],
    [{ purpose: 'batch_output' }, 'purpose', 'invalid_value', 'batch, vision'],
    [{ colour: 'red' }, 'colour', 'unknown_parameter', 'allowed: bytes, filename'],
    [
      { expires_after: { anchor: 'created_at', seconds: 60 } },
      'expires_after.seconds',
      'invalid_value',
      '3600',
    ],
    [
      { expires_after: { anchor: 'now', seconds: 3_600 } },
      'expires_after.anchor',
      'invalid_value',
      'created_at',
    ],
  ])('answers 400 to %j', async (own, param, code, message) => {
    const { status, json } = await ask(postUpload, { json: { ...order, ...own } })
    expect([status, json.error]).toEqual([
      400,
      { message: expect.stringContaining(message), type: 'invalid_request_error', param, code },
    ])
    expect(world.fileTable.partitions()).toEqual([])
  })
})

describe('POST /v1/uploads/{id}/parts', () => {
  test.each([
    [formOf(), 'data', 'missing_required_parameter', 'wanted one file'],
    [formOf(['data', 'aGVsbG8=']), 'data', 'invalid_value', 'got a text; wanted one file'],
    [formOf(['file', ['x', 'x']]), 'data', 'unknown_parameter', 'got "file" instead'],
    [formOf(['data', ['x', 'x']], ['order', '1']), 'data', 'unknown_parameter', 'got "order" instead'],
    [formOf(['data', ['x', '']]), 'data', 'invalid_value', 'it is empty'],
    [formOf(['data', ['x', 'x']], ['data', ['y', 'y']]), null, 'invalid_multipart', 'too many files'],
  ])('answers 400 to %#, and takes no part', async (form, param, code, message) => {
    const id = await opened()
    const before = world.fileTable.rows(`upload:${id}`)
    const { status, json } = await ask(postUploadPart, { id, form })
    expect([status, json.error]).toEqual([
      400,
      { message: expect.stringContaining(message), type: 'invalid_request_error', param, code },
    ])
    expect(world.fileTable.rows(`upload:${id}`)).toEqual(before)
  })

  test('keeps nothing of another field', async () => {
    const form = formOf(['file', ['x', 'x']])
    expect((await ask(postUploadPart, { id: await opened(), form })).status).toBe(400)
    expect(world.fileContents.waiting()).toEqual([])
  })

  test('answers 415 to what is no form', async () => {
    const { status } = await ask(postUploadPart, { id: await opened(), json: { data: 'x' } })
    expect(status).toBe(415)
  })

  test('answers 413 to more than all parts are to have together, and to more than one may', async () => {
    const { status, json } = await sent(await opened(), 'x'.repeat(9))
    expect([status, json.error.param, json.error.code, json.error.message]).toEqual([
      413,
      'data',
      'part_too_large',
      'data: got more than 8 bytes; allowed: at most 8, which are all that the upload was made for',
    ])
    const bytes = limits.requestFilesBytesMax + 1
    const form = new FormData()
    form.append('data', new File([new Uint8Array(bytes)], 'part'))
    const large = await ask(postUploadPart, { id: await opened({ bytes: limits.batchFileBytesMax }), form })
    expect([large.status, large.json.error.message]).toEqual([
      413,
      'data: got more than 67108864 bytes; allowed: at most 67108864 in one part',
    ])
  })

  test('answers 400 when the upload has as much as it may have', async () => {
    const uploads = { ...context.uploads, stage: async () => ({ kind: 'full' as const }) }
    const id = await opened()
    context = { ...context, uploads }
    const { status, json } = await sent(id, 'x')
    expect([status, json.error.code, json.error.message]).toEqual([
      400,
      'upload_full',
      expect.stringContaining('at most 1000 parts and 419430400 bytes; cancel it'),
    ])
  })

  test.each([
    [undefined, 3 * limits.fileBlockBytes],
    [String(64 * 1024 * 1024), 3 * limits.fileBlockBytes],
    ['-1', 3 * limits.fileBlockBytes],
    ['1000', 1_000],
  ])(
    'of the length %s takes %i bytes of memory while it comes, or is to come again',
    async (length, bytes) => {
      const id = await opened()
      const headers: Record<string, string> = length === undefined ? {} : { 'content-length': length }
      const part = async () => ask(postUploadPart, { id, form: formOf(['data', ['x', 'x']]), headers })
      const left = limits.uploadsInHandBytesMax - bytes
      setInUse(context.capacity.uploads, left)
      expect((await part()).status).toBe(200)
      expect(context.capacity.uploads.inUse()).toBe(left)
      setInUse(context.capacity.uploads, left + 1)
      const full = await part()
      expect([full.status, full.json.error.code, full.isRead]).toEqual([503, 'instance_full', true])
      expect(full.headers['retry-after']).toBe('20')
      expect(context.capacity.uploads.inUse()).toBe(left + 1)
    },
  )
})

describe('POST /v1/uploads/{id}/complete', () => {
  test.each([
    [{ part_ids: undefined }, 'part_ids', 'missing_required_parameter', 'it is missing'],
    [{ part_ids: [] }, 'part_ids', 'invalid_value', 'at least 1'],
    [{ part_ids: 'part_1' }, 'part_ids', 'invalid_value', 'an array'],
    [{ part_ids: ['part_none'] }, 'part_ids', 'invalid_value', '"part_none" is no part of this upload'],
    [{ part_ids: ['x'.repeat(65)] }, 'part_ids.0', 'invalid_value', 'at most 64 characters'],
    [{ md5: 'abc' }, 'md5', 'invalid_value', 'got "abc"; allowed: 32 digits in hex'],
    [{ parts: [] }, 'parts', 'unknown_parameter', 'allowed: part_ids, md5'],
  ])('answers 400 to %j', async (own, param, code, message) => {
    const id = await opened()
    const { status, json } = await complete(id, [await added(id, 'abcdefgh')], own)
    expect([status, json.error]).toEqual([
      400,
      { message: expect.stringContaining(message), type: 'invalid_request_error', param, code },
    ])
    expect(world.fileContents.blobs.size).toBe(0)
  })

  test('answers 400 to parts that are named twice, or have other bytes than were told, and names both figures', async () => {
    const id = await opened()
    const [a, b] = [await added(id, 'abcd'), await added(id, 'efg')]
    const twice = await complete(id, [a, a])
    expect([twice.status, twice.json.error.message]).toEqual([
      400,
      `part_ids: "${a}" is named twice; allowed: once`,
    ])
    const { status, json } = await complete(id, [a, b])
    expect([status, json.error.param, json.error.code, json.error.message]).toEqual([
      400,
      'part_ids',
      'wrong_size',
      'part_ids: these parts have 7 bytes together; wanted the 8 that the upload was made for',
    ])
  })

  test('answers 400 to another md5 than that of the parts, and takes the right one, in letters of any size', async () => {
    const id = await opened()
    const [a, b] = [await added(id, 'abcd'), await added(id, 'efgh')]
    const md5 = createHash('md5').update('abcdefgh').digest('hex')
    const { status, json } = await complete(id, [b, a], { md5 })
    expect([status, json.error.param, json.error.code, json.error.message]).toEqual([
      400,
      'md5',
      'wrong_md5',
      expect.stringMatching(new RegExp(`^md5: got ${md5}; the parts in this order come to [0-9a-f]{32}\\.`)),
    ])
    expect((await complete(id, [a, b], { md5: md5.toUpperCase() })).json.status).toBe('completed')
  })

  test('answers the same when it is asked again, and 400 when other parts are named', async () => {
    const id = await opened()
    const [a, b] = [await added(id, 'abcd'), await added(id, 'efgh')]
    const first = await complete(id, [a, b])
    const again = await complete(id, [a, b])
    expect([again.status, again.json]).toEqual([200, first.json])
    for (const reply of [
      await complete(id, [b, a]),
      await sent(id, 'x'),
      await ask(cancelUpload, { id, json: {} }),
    ]) {
      expect([reply.status, reply.json.error]).toEqual([
        400,
        {
          message: expect.stringContaining('is completed'),
          type: 'invalid_request_error',
          param: 'upload_id',
          code: 'upload_completed',
        },
      ])
    }
  })

  test('answers 409, after which clients ask again, while somebody else is at it', async () => {
    const id = await opened()
    const a = await added(id, 'abcdefgh')
    const closed = async () => ({ kind: 'closed' as const, why: 'completing' as const })
    const { uploads } = context
    context = { ...context, uploads: { ...uploads, stage: closed, complete: closed, cancel: closed } }
    for (const reply of [
      await complete(id, [a]),
      await sent(id, 'x'),
      await ask(cancelUpload, { id, json: {} }),
    ]) {
      expect([reply.status, reply.json.error.code]).toEqual([409, 'upload_completing'])
    }
  })
})

describe('POST /v1/uploads/{id}/cancel', () => {
  test('drops what has come, and may be asked again', async () => {
    const id = await opened()
    const a = await added(id, 'abcdefgh')
    const { status, json } = await ask(cancelUpload, { id, json: {} })
    expect([status, json]).toEqual([200, expect.objectContaining({ id, status: 'cancelled', bytes: 8 })])
    expect(json).not.toHaveProperty('file')
    expect(world.fileContents.waiting()).toEqual([])
    expect((await ask(cancelUpload, { id, json: undefined })).json).toEqual(json)
    for (const reply of [await complete(id, [a]), await sent(id, 'x')]) {
      expect([reply.status, reply.json.error.code]).toEqual([400, 'upload_cancelled'])
    }
  })

  test('takes no fields', async () => {
    const { status, json } = await ask(cancelUpload, { id: await opened(), json: { reason: 'x' } })
    expect([status, json.error.param]).toEqual([400, 'reason'])
  })
})

test('an upload that nobody completes answers 400 after an hour, and 404 when it is swept', async () => {
  const id = await opened()
  const a = await added(id, 'abcdefgh')
  const asked = async () => [
    await sent(id, 'x'),
    await complete(id, [a]),
    await ask(cancelUpload, { id, json: {} }),
  ]
  await world.clock.runUntil(startAt + hourMs)
  for (const { status, json } of await asked()) {
    expect([status, json.error.code, json.error.param]).toEqual([400, 'upload_expired', 'upload_id'])
  }
  await world.clock.runUntil(startAt + 3 * hourMs)
  expect(await context.uploads.removeExpired()).toBe(1)
  for (const { status, json } of await asked()) {
    expect([status, json.error.code]).toEqual([404, 'not_found'])
  }
})

test('an upload is there for its own key and for admins only', async () => {
  const id = await opened()
  for (const reply of [
    await sent(id, 'abcd', other),
    await complete(id, ['part_x'], {}, other),
    await ask(cancelUpload, { id, json: {}, caller: other }),
  ]) {
    expect([reply.status, reply.json.error]).toEqual([
      404,
      {
        message: `upload "${id}" does not exist`,
        type: 'invalid_request_error',
        param: null,
        code: 'not_found',
      },
    ])
  }
  const [a, b] = [await sent(id, 'abcd', admin), await sent(id, 'efgh')]
  const { json } = await complete(id, [a.json.id, b.json.id], {}, admin)
  // It stays its maker's, whoever completes it.
  expect((await ask(getFile, { id: json.file.id })).status).toBe(200)
  expect((await ask(getFile, { id: json.file.id, caller: other })).status).toBe(404)
})

test.each([
  '',
  'upload_',
  'nothing',
  '../secrets',
  'x'.repeat(5_000),
  'file-0mcqvlkow1',
  'upload_0mcqvlkow1',
])('%j is none', async (id) => {
  const part = await sent(id, 'x')
  // Who is still sending would not hear it otherwise.
  expect(part.isRead).toBe(true)
  for (const reply of [part, await complete(id, ['x']), await ask(cancelUpload, { id, json: {} })]) {
    expect(reply.status).toBe(404)
  }
})
