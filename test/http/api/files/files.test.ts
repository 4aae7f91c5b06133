import functions from '@azure/functions'
import { text as textOf } from 'node:stream/consumers'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Caller } from '../../../../src/core/caller.ts'
import { limits } from '../../../../src/core/limits.ts'
import {
  deleteFile,
  getFile,
  getFileContent,
  listFiles,
  postFile,
} from '../../../../src/http/api/files/files.ts'
import type { Call, Reply } from '../../../../src/http/reply.ts'
import type { Context } from '../../../../src/pipeline/context.ts'
import { newWorld, contextIn, type World, setInUse } from '../../../support/context.ts'

const startAt = Date.UTC(2026, 10, 23, 12, 0, 0)
const daySeconds = 86_400
const shop: Caller = { key: 'shop', isAdmin: false, isReadOnly: false }
const other: Caller = { key: 'other', isAdmin: false, isReadOnly: false }
const admin: Caller = { key: 'boss', isAdmin: true, isReadOnly: false }

let world: World
let context: Context

beforeEach(() => {
  world = newWorld(startAt)
  context = contextIn(world)
})

async function ask(
  handle: (call: Call) => Promise<Reply>,
  {
    id = '',
    query = '',
    headers = {},
    form,
    caller = shop,
  }: {
    id?: string
    query?: string
    headers?: Record<string, string>
    form?: FormData
    caller?: Caller
  },
): Promise<Reply & { json: any; isRead: boolean }> {
  const encoded = new Response(form)
  const type = encoded.headers.get('content-type')
  const request = new functions.HttpRequest({
    url: `https://darkroom.example.com/v1/files${query}`,
    method: form === undefined ? 'GET' : 'POST',
    params: { id },
    headers: type === null ? headers : { 'content-type': type, ...headers },
    ...(form === undefined ? {} : { body: { bytes: new Uint8Array(await encoded.arrayBuffer()) } }),
  })
  const reply = await handle({ request, context, id: 'request-1', caller })
  return { ...reply, json: reply.jsonBody, isRead: request.bodyUsed }
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

const lines = ['lines.jsonl', '{"a":1}\n{"b":2}\n'] as const

async function post(form: FormData, caller = shop) {
  const reply = await ask(postFile, { form, caller })
  await world.clock.runUntil(world.clock.now() + 1_000)
  return reply
}

async function posted(caller = shop, purpose = 'batch'): Promise<string> {
  return (await post(formOf(['purpose', purpose], ['file', lines]), caller)).json.id
}

describe('POST /v1/files', () => {
  test.each([
    ['before', formOf(['purpose', 'batch'], ['file', lines])],
    ['behind', formOf(['file', lines], ['purpose', 'batch'])],
  ])('answers OpenAI’s File, its purpose standing %s it', async (_, form) => {
    const { status, json } = await post(form)
    expect([status, json]).toEqual([
      200,
      {
        id: expect.stringMatching(/^file-[0-9a-z]+$/),
        object: 'file',
        bytes: 16,
        created_at: startAt / 1_000,
        expires_at: startAt / 1_000 + 30 * daySeconds,
        filename: 'lines.jsonl',
        purpose: 'batch',
        status: 'processed',
      },
    ])
    expect(await context.files.get(json.id)).toMatchObject({ owner: 'shop' })
  })

  test('keeps an image until it is deleted, and any file as long as is asked for', async () => {
    expect((await post(formOf(['purpose', 'vision'], ['file', ['a.png', 'x']]))).json).not.toHaveProperty(
      'expires_at',
    )
    const { json } = await post(
      formOf(
        ['file', ['a.png', 'x']],
        ['purpose', 'vision'],
        ['expires_after[anchor]', 'created_at'],
        ['expires_after[seconds]', '3600'],
      ),
    )
    expect(json.expires_at - json.created_at).toBe(3_600)
  })

  const purpose = ['purpose', 'batch'] as const
  const file = ['file', lines] as const
  const anchor = ['expires_after[anchor]', 'created_at'] as const
  test.each([
    [formOf(file), 'purpose', 'missing_required_parameter', 'allowed: batch, vision'],
    [
      formOf(['purpose', 'fine-tune'], file),
      'purpose',
      'invalid_value',
      'got "fine-tune"; allowed: batch, vision',
    ],
    [formOf(purpose), 'file', 'missing_required_parameter', 'wanted one file'],
    [formOf(purpose, ['file', 'text']), 'file', 'unknown_parameter', 'unknown field "file"'],
    [formOf(purpose, ['document', lines]), 'file', 'unknown_parameter', 'got "document" instead'],
    [formOf(purpose, file, ['colour', 'red']), 'colour', 'unknown_parameter', 'allowed: file, purpose'],
    [formOf(purpose, purpose, file), 'purpose', 'invalid_value', 'given twice'],
    [formOf(purpose, file, anchor), 'expires_after[seconds]', 'missing_required_parameter', 'together'],
    [
      formOf(purpose, file, ['expires_after[seconds]', '3600']),
      'expires_after[anchor]',
      'missing_required_parameter',
      'together',
    ],
    [
      formOf(purpose, file, anchor, ['expires_after[seconds]', '3599']),
      'expires_after[seconds]',
      'invalid_value',
      'at least 3600',
    ],
    [
      formOf(purpose, file, anchor, ['expires_after[seconds]', '2592001']),
      'expires_after[seconds]',
      'invalid_value',
      'at most 2592000',
    ],
    [
      formOf(purpose, file, anchor, ['expires_after[seconds]', 'soon']),
      'expires_after[seconds]',
      'invalid_value',
      'a number',
    ],
    [
      formOf(purpose, file, ['expires_after[anchor]', 'now']),
      'expires_after[anchor]',
      'invalid_value',
      'created_at',
    ],
    [formOf(purpose, ['file', ['x'.repeat(256), 'x']]), 'file', 'invalid_value', '256 characters'],
    [formOf(purpose, file, file), null, 'invalid_multipart', 'too many files'],
  ])('answers 400 to %#, and keeps nothing', async (form, param, code, message) => {
    const { status, json } = await post(form)
    expect([status, json.error]).toEqual([
      400,
      { message: expect.stringContaining(message), type: 'invalid_request_error', param, code },
    ])
    expect([...world.fileContents.blobs.keys()]).toEqual([])
    expect((await ask(listFiles, {})).json.data).toEqual([])
  })

  test('answers 413 to an image that passes its bound, and says what is allowed', async () => {
    const bytes = limits.visionFileBytesMax + 1
    const form = formOf(['purpose', 'vision'])
    form.append('file', new File([new Uint8Array(bytes)], 'a.png'))
    const { status, json } = await post(form)
    expect([status, json.error.code, json.error.message]).toEqual([
      413,
      'file_too_large',
      `file: got ${bytes} bytes; allowed: at most ${limits.visionFileBytesMax} for the purpose vision`,
    ])
    expect([...world.fileContents.blobs.keys()]).toEqual([])
  })

  test('takes a batch of 64 MB, and answers 413 to more, which names the way for larger ones', async () => {
    const sent = async (bytes: number, purpose = 'batch') => {
      const form = formOf(['purpose', purpose])
      form.append('file', new File([new Uint8Array(bytes)], 'lines.jsonl'))
      return post(form)
    }
    expect((await sent(64 * 1024 * 1024)).json.bytes).toBe(67_108_864)
    const { status, json } = await sent(64 * 1024 * 1024 + 1)
    expect([status, json.error.code, json.error.message]).toEqual([
      413,
      'file_too_large',
      'file: got more than 67108864 bytes; allowed: at most 67108864 in one request; POST /v1/uploads takes up to 209715200 for the purpose batch, in parts',
    ])
    // No way leads further here.
    expect((await sent(64 * 1024 * 1024 + 1, 'vision')).json.error.message).toBe(
      'file: got more than 67108864 bytes; allowed: at most 52428800 for the purpose vision',
    )
    expect(world.fileContents.blobs.size).toBe(1)
  })

  test('takes memory for blocks while it comes, and answers 503 where there is none left', async () => {
    const left = limits.uploadsInHandBytesMax - 3 * limits.fileBlockBytes
    setInUse(context.capacity.uploads, left)
    expect((await post(formOf(['purpose', 'batch'], ['file', lines]))).status).toBe(200)
    expect((await post(formOf(['file', lines]))).status).toBe(400)
    expect(context.capacity.uploads.inUse()).toBe(left)
    context.capacity.uploads.add(1)
    const { status, json, headers, isRead } = await post(formOf(['purpose', 'batch'], ['file', lines]))
    expect([status, json.error.code, headers['retry-after']]).toEqual([503, 'instance_full', '20'])
    expect(isRead).toBe(true)
    expect(context.capacity.uploads.inUse()).toBe(left + 1)
  })

  test('answers 415 to JSON, and 400 to a form without an end', async () => {
    expect(
      (await ask(postFile, { headers: { 'content-type': 'application/json' }, form: formOf() })).status,
    ).toBe(415)
    expect(
      (await ask(postFile, { headers: { 'content-type': 'multipart/form-data' }, form: formOf() })).status,
    ).toBe(400)
  })
})

describe('GET /v1/files', () => {
  test('lists one’s own files newest first, in pages, by purpose', async () => {
    const [a, b, c] = [await posted(), await posted(shop, 'vision'), await posted()]
    await posted(other)
    const list = async (query = '', caller = shop) => {
      const { status, json } = await ask(listFiles, { query, caller })
      expect(status).toBe(200)
      return json
    }
    expect(await list()).toMatchObject({ object: 'list', first_id: c, last_id: a, has_more: false })
    const ids = async (query: string) => (await list(query)).data.map(({ id }: { id: string }) => id)
    expect(await ids('?limit=2')).toEqual([c, b])
    expect((await list('?limit=2')).has_more).toBe(true)
    expect(await ids(`?limit=2&after=${b}`)).toEqual([a])
    expect(await ids('?order=asc&limit=1')).toEqual([a])
    expect(await ids('?purpose=vision')).toEqual([b])
    expect(await ids('?purpose=batch_output&code=key')).toEqual([])
    expect((await list('', admin)).data).toHaveLength(4)
    expect(await list('', { ...other, key: null })).toEqual({
      object: 'list',
      data: [],
      first_id: '',
      last_id: '',
      has_more: false,
    })
  })

  test.each([
    ['limit=0', 'limit', 'at least 1'],
    ['limit=10001', 'limit', 'at most 10000'],
    ['limit=ten', 'limit', 'got "ten"; allowed: a number'],
    ['limit=1.5', 'limit', 'a whole number'],
    ['order=up', 'order', 'asc, desc'],
    ['purpose=any', 'purpose', 'batch, vision, batch_output'],
    ['after=nothing', 'after', 'got "nothing"; allowed: the id of a file'],
  ])('answers 400 to %s', async (query, param, message) => {
    const { status, json } = await ask(listFiles, { query: `?${query}` })
    expect([status, json.error.param, json.error.message]).toEqual([
      400,
      param,
      expect.stringContaining(message),
    ])
  })
})

describe('a file', () => {
  let id: string
  beforeEach(async () => {
    id = await posted()
  })

  async function content(headers: Record<string, string> = {}) {
    const reply = await ask(getFileContent, { id, headers })
    const { body } = reply
    const isStream = typeof body === 'object' && !(body instanceof Uint8Array)
    return { ...reply, text: isStream ? await textOf(body) : undefined }
  }

  test('is shown, and its content comes whole', async () => {
    expect((await ask(getFile, { id })).json).toMatchObject({ id, object: 'file', bytes: 16 })
    expect(await content()).toMatchObject({
      status: 200,
      text: lines[1],
      headers: {
        'content-type': 'application/jsonl',
        'content-length': '16',
        'content-disposition': 'attachment; filename=lines.jsonl',
        'accept-ranges': 'bytes',
        'cache-control': 'private, max-age=3600',
      },
    })
  })

  test('gives a range', async () => {
    const part = await content({ range: 'bytes=8-14' })
    expect(part).toMatchObject({
      status: 206,
      text: '{"b":2}',
      headers: { 'content-range': 'bytes 8-14/16', 'content-length': '7' },
    })
    expect((await content({ range: 'bytes=-8' })).text).toBe('{"b":2}\n')
    expect(await content({ range: 'bytes=8-14', 'if-range': '"etag"' })).toMatchObject({
      status: 200,
      text: lines[1],
    })
    const { etag } = (await content({})).headers
    expect(await content({ range: 'bytes=8-14', 'if-range': etag! })).toMatchObject({ status: 206 })
    expect(await content({ 'if-none-match': `"other", W/${etag}` })).toMatchObject({
      status: 304,
      headers: { etag },
    })
    expect(await content({ range: 'bytes=16-' })).toMatchObject({
      status: 416,
      headers: { 'content-range': 'bytes */16' },
      json: { error: { code: 'range_not_satisfiable', param: 'Range' } },
    })
  })

  test.each([
    ['vision', 'A.PNG', 'image/png', 'filename=A.PNG'],
    ['vision', 'x', 'application/octet-stream', 'filename=x'],
    ['batch', 'x', 'application/jsonl', 'filename=x'],
    [
      'batch',
      `猫 "x"'(1).jsonl`,
      'application/jsonl',
      `filename="? \\"x\\"'(1).jsonl"; filename*=UTF-8''%E7%8C%AB%20%22x%22%27%281%29.jsonl`,
    ],
    ['batch', 'a\r\nset-cookie: b', 'application/jsonl', 'filename="a??set-cookie: b"'],
    ['batch', 'half \uD800', 'application/jsonl', `filename="half ?"; filename*=UTF-8''half%20%EF%BF%BD`],
  ])('of the purpose %s called %j is told as %s', async (purpose, filename, contentType, disposition) => {
    async function* once() {
      yield Buffer.from('x')
    }
    const saved = await context.files.save({
      owner: 'shop',
      filename,
      purpose: purpose === 'batch' ? 'batch' : 'vision',
      expiresAfterMs: null,
      sizeBytesMax: 9,
      content: once(),
    })
    id = saved.kind === 'saved' ? saved.file.id : ''
    const { headers } = await content()
    expect(headers['content-type']).toBe(contentType)
    expect(headers['content-disposition']).toContain(`attachment; ${disposition}`)
    expect(() => new Headers(headers)).not.toThrow()
  })

  test('is deleted once', async () => {
    expect(await ask(deleteFile, { id })).toMatchObject({
      status: 200,
      json: { id, object: 'file', deleted: true },
    })
    for (const handle of [getFile, getFileContent, deleteFile]) {
      expect(await ask(handle, { id })).toMatchObject({ status: 404, json: { error: { code: 'not_found' } } })
    }
  })

  test('is there for its owner and admins only', async () => {
    for (const handle of [getFile, getFileContent, deleteFile]) {
      expect((await ask(handle, { id, caller: other })).status).toBe(404)
    }
    expect((await ask(getFile, { id, caller: admin })).status).toBe(200)
    expect((await ask(getFile, { id })).status).toBe(200)
  })

  test('is gone when it has expired', async () => {
    await world.clock.runUntil(startAt + 30 * daySeconds * 1_000)
    expect((await ask(getFile, { id })).status).toBe(404)
  })

  test.each(['', 'file-', 'nothing', '../secrets', 'x'.repeat(5_000), "' or true", 'file-0mcqvlkow1'])(
    '%j is none',
    async (wrong) => {
      for (const handle of [getFile, getFileContent, deleteFile]) {
        expect((await ask(handle, { id: wrong })).status).toBe(404)
      }
    },
  )
})
