import { createHash } from 'node:crypto'
import functions from '@azure/functions'
import * as fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import '../../src/functions/http.ts'
import type { LogEvent, LogFacts } from '../../src/core/log-event.ts'
import { routes } from '../../src/functions/route.ts'
import type { AccessPolicy } from '../../src/http/access.ts'
import { answer, answerOthers } from '../../src/http/answer.ts'
import type { Reply } from '../../src/http/reply.ts'
import type { Route } from '../../src/http/routes.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { newWorld, contextIn, type World } from '../support/context.ts'

/** `SEED=17 npx vitest run test/http/fuzz.test.ts` tries others. */
const seed = Number(process.env['SEED'] ?? 20_261_123)
const runsPerRoute = Number(process.env['RUNS'] ?? 60)

const keyOf = (name: string, more: object = {}) => ({
  name,
  sha256: createHash('sha256').update(`dk_${name}`).digest('hex'),
  weight: 1,
  isReadOnly: false,
  isAdmin: false,
  ...more,
})

const policy: AccessPolicy = {
  keys: [
    keyOf('studio'),
    keyOf('agency'),
    keyOf('wall', { isReadOnly: true }),
    keyOf('ops', { isAdmin: true }),
  ],
  azureSigns: 'WEBSITE_SITE_NAME and WEBSITE_POD_NAME',
  corsOrigins: ['https://studio.example.com'],
  now: () => 0,
  log: { event() {} },
}

let world: World
let context: Context
/** Names of what there is: parts of paths, and values of queries. */
let known: readonly string[]

type Asked = {
  readonly params: readonly string[]
  readonly query: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

beforeAll(async () => {
  world = newWorld(Date.UTC(2026, 10, 23, 12))
  context = contextIn(world)
  const studio = { 'api-key': 'dk_studio', 'content-type': 'application/json' }
  const post = async (path: string, headers: Record<string, string>, body: string | Uint8Array) => {
    const route = routes.find((each) => each.method === 'POST' && each.path === path)!
    const reply = await ask(route, { params: [], query: '', headers, body: Buffer.from(body) })
    expect(reply.status, JSON.stringify(reply.jsonBody)).toBeLessThan(300)
    const json: any = reply.jsonBody
    return String(json.id)
  }
  const job = await post('v1/jobs', studio, '{"prompt":"a fox","batch":"toys","custom_id":"fox"}')
  const inboxed = await post('v1/jobs', { 'api-key': 'dk_ops' }, '{"prompt":"a fox","custom_id":"fox"}')
  const form = new FormData()
  form.append('purpose', 'batch')
  form.append('file', new File(['{"custom_id":"1"}\n'], 'lines.jsonl'))
  const encoded = new Response(form)
  const type = encoded.headers.get('content-type') ?? ''
  const upload = { 'api-key': 'dk_studio', 'content-type': type }
  const file = await post('v1/files', upload, new Uint8Array(await encoded.arrayBuffer()))
  const order = { input_file_id: file, endpoint: '/v1/images/generations', completion_window: '24h' }
  const batch = await post('v1/batches', studio, JSON.stringify(order))
  const facts = { bytes: 3, filename: 'lines.jsonl', mime_type: 'application/jsonl', purpose: 'batch' }
  const begun = await post('v1/uploads', studio, JSON.stringify(facts))
  known = [job, inboxed, file, batch, 'toys', 'inbox-2026-11-23__ops', 'fox', '0', begun]
})

let requests = 0

/** As the function does; a path's parameters come decoded. Throws when nothing comes of it. */
async function ask(route: Route | undefined, { params, query, headers, body }: Asked): Promise<Reply> {
  const method = route?.method ?? 'PATCH'
  const template = route?.path ?? params.map(encoded).join('/')
  const named: Record<string, string> = {}
  const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = params[Object.keys(named).length % Math.max(1, params.length)] ?? ''
    // A host gives no empty parameter: such a path has another form.
    named[name] = value === '' ? 'x' : value
    return encoded(named[name])
  })
  const request = new functions.HttpRequest({
    method,
    url: `https://darkroom.example.com/${path}${query === '' ? '' : `?${query}`}`,
    params: named,
    headers,
    ...(body.length > 0 && { body: { bytes: body } }),
  })
  const incoming = { request, id: `request-${(requests += 1)}`, log: { event: failed } }
  const service = { policy: () => policy, context: async () => context }
  const reply = await finished(
    route === undefined ? answerOthers(service, routes, incoming) : answer(service, route, incoming),
  )
  const { body: sent } = reply
  if (typeof sent === 'object' && !(sent instanceof Uint8Array)) await finished(drain(sent))
  return reply
}

/** What the service logs as its own failure fails the test. */
function failed(event: LogEvent, facts?: LogFacts): void {
  if (event === 'request_failed') throw new Error(JSON.stringify(facts))
}

async function drain(body: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of body) expect(chunk).toBeInstanceOf(Uint8Array)
}

/** Lets virtual and real time pass until the work is done. */
async function finished<T>(work: Promise<T>): Promise<T> {
  const state = { isSettled: false }
  const settled = work.finally(() => {
    state.isSettled = true
  })
  settled.catch(() => {})
  const endAt = performance.now() + 5_000
  while (!state.isSettled) {
    await world.clock.runWhile(() => !state.isSettled, Infinity)
    await new Promise((resolve) => setImmediate(resolve))
    if (performance.now() > endAt) throw new Error('no answer within five seconds')
  }
  return settled
}

function stored(): string {
  const tables = [world.jobs, world.budget, world.fileTable, world.batchTable]
  const rows = tables.map((table) =>
    table
      .partitions()
      .map((partition) => [partition, table.rows(partition)] as const)
      .filter(([, all]) => all.length > 0),
  )
  const blobs = [...world.fileContents.blobs.keys(), ...world.inputs.blobs.keys()]
  const { work, ticks, batchTasks } = world.messages
  return JSON.stringify([rows, blobs, work, ticks, batchTasks])
}

function assertRefusal({ status, headers, jsonBody }: Reply): void {
  expect(status).toBeGreaterThanOrEqual(400)
  expect(status).toBeLessThan(500)
  expect(headers['x-request-id']).toMatch(/^request-\d+$/)
  const json: any = jsonBody
  const { param } = json.error
  expect(param === null || typeof param === 'string').toBe(true)
  expect(json).toEqual({
    error: {
      message: expect.stringMatching(/./),
      // OpenAI's own word for too many of them.
      type: status === 429 ? 'requests' : 'invalid_request_error',
      param,
      code: expect.any(String),
    },
  })
}

const part = fc.oneof(
  { weight: 2, arbitrary: fc.nat(8).map((index) => ({ known: index })) },
  fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.constantFrom(
      '..',
      '../..',
      '%2e%2e',
      '\0',
      'toys.fox/..',
      'toys.',
      '.fox',
      'toys..fox',
      'inbox-2026-11-24__studio',
      'inbox-2026-11-23',
      'batch_0',
      'batch_00mwtxg1p1',
      'file-',
      'file-00mwtxg1p1',
      'upload_',
      'upload_00mwtxg1p1',
      '-1',
      '1e9',
      '99999999999999999999',
      '__proto__',
      'constructor',
      'x'.repeat(600),
      'x'.repeat(9_000),
      '💥'.repeat(64),
    ),
  ),
)

const queryNames = [
  'limit',
  'after',
  'status',
  'custom_id',
  'order',
  'purpose',
  'format',
  'part',
  'images',
  'x',
  '__proto__',
]
const queryValues = [
  '0',
  '1',
  '-1',
  '1.5',
  '1e3',
  '20',
  '100000',
  'NaN',
  'queued',
  'asc',
  'desc',
  'batch',
  'zip',
  'csv',
  'b64',
  '',
]

const bodyNames = [
  'prompt',
  'size',
  'quality',
  'n',
  'output_format',
  'output_compression',
  'background',
  'moderation',
  'user',
  'model',
  'custom_id',
  'batch',
  'priority',
  'metadata',
  'image',
  'mask',
  'method',
  'url',
  'body',
  'reason',
  'cap_usd',
  'kinds',
  'input_file_id',
  'bytes',
  'filename',
  'mime_type',
  'purpose',
  'expires_after',
  'part_ids',
  'md5',
  'endpoint',
  'completion_window',
  'output_expires_after',
  'name',
  'on_unknown',
  'output_prefix',
  'webhook',
  '__proto__',
  'constructor',
  'unknown',
]
const bodyValues = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom<unknown>(
    'a fox',
    '1024x1024',
    '24h',
    '/v1/images/generations',
    'POST',
    'toys',
    'inbox-2026-11-24',
    '../up',
    'file-none',
    'batch',
    ['part_none'],
    { anchor: 'created_at', seconds: 3_600 },
    'data:image/png;base64,AAAA',
    'https://127.0.0.1/x.png',
    'http://169.254.169.254/',
    1,
    0,
    -1,
    1e308,
    1.5,
    null,
    true,
    [],
    {},
    'x'.repeat(40_000),
    '\uD800',
    '\u2028',
  ),
)

const json = fc
  .dictionary(fc.constantFrom(...bodyNames), bodyValues, { maxKeys: 6 })
  .map((value) => JSON.stringify(value))
const brokenJson = fc.tuple(json, fc.nat(), fc.string({ maxLength: 3 })).map(([text, at, noise]) => {
  const place = at % Math.max(1, text.length)
  return text.slice(0, place) + noise + text.slice(place + 1)
})
const deep = fc
  .integer({ min: 1, max: 20_000 })
  .map((depth) => `${'[{"a":'.repeat(depth)}1${'}]'.repeat(depth)}`)
const lines = fc
  .array(fc.oneof(json, brokenJson, fc.constant('')), { maxLength: 5 })
  .map((all) => `\uFEFF${all.join('\r\n')}`)
const multipart = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '--b',
        '\r\n--b\r\n',
        '\r\n--b--\r\n',
        '\r\n\r\n',
        '\r\n',
        'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch',
        'Content-Disposition: form-data; name="file"; filename="../../x.jsonl"\r\n\r\n{}',
        'Content-Disposition: form-data; name="file"; filename=""\r\n\r\n',
        'Content-Disposition: form-data; name="data"; filename="blob"\r\n\r\nabc',
        'Content-Disposition: form-data; name="data"\r\n\r\nabc',
        'Content-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n-1',
        'Content-Disposition: form-data; name="expires_after[anchor]"\r\n\r\ncreated_at',
        'Content-Disposition: form-data; name="image[]"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG',
        'Content-Disposition: form-data; name="prompt"\r\n\r\na fox',
        'Content-Disposition: form-data\r\n\r\n',
        'Content-Transfer-Encoding: base64\r\n\r\n',
      ),
      fc.string({ unit: 'binary', maxLength: 50 }),
    ),
    { maxLength: 12 },
  )
  .map((pieces) => `--b\r\n${pieces.join('')}`)

const bodies = fc.oneof(
  { weight: 4, arbitrary: json.map((text) => Buffer.from(text)) },
  { weight: 2, arbitrary: brokenJson.map((text) => Buffer.from(text)) },
  { weight: 1, arbitrary: deep.map((text) => Buffer.from(text)) },
  { weight: 1, arbitrary: lines.map((text) => Buffer.from(text)) },
  { weight: 3, arbitrary: multipart.map((text) => Buffer.from(text)) },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 200 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(new Uint8Array(), new Uint8Array(300_000), new Uint8Array(9 * 1024 * 1024)),
  },
)

const headerValue = fc.oneof(
  fc.stringMatching(/^[\x21-\x7e][\x20-\x7e\xa1-\xff]{0,40}$/),
  fc.constantFrom(
    'application/json',
    'application/json; charset=utf-16',
    'multipart/form-data; boundary=b',
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'text/plain',
    'image/png',
    'gzip',
    'bytes=0-',
    'bytes=5-1',
    'bytes=-0',
    'bytes=0-99999999999999999999',
    '*',
    'W/"x"',
    '0',
    '-1',
    '99999999999',
    'https://studio.example.com',
    'null',
    '127.0.0.1',
  ),
)
const headerNames = [
  'content-type',
  'content-length',
  'content-encoding',
  'accept',
  'range',
  'if-range',
  'if-none-match',
  'idempotency-key',
  'last-event-id',
  'origin',
  'host',
  'x-forwarded-host',
  'x-forwarded-proto',
  'expect',
  'x-ms-invocation-id',
]
const credentials = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Record<string, string>>({ 'api-key': 'dk_studio' }) },
  { weight: 3, arbitrary: fc.constant<Record<string, string>>({ 'x-functions-key': 'dk_ops' }) },
  {
    weight: 4,
    arbitrary: fc.constantFrom<Record<string, string>>(
      { authorization: 'Bearer dk_agency' },
      { authorization: 'Bearer dk_wall' },
      { 'api-key': 'dk_secret-guess' },
      {},
    ),
  },
)

const asked: fc.Arbitrary<Asked> = fc
  .record({
    parts: fc.array(part, { minLength: 1, maxLength: 3 }),
    query: fc.oneof(
      fc.constant(''),
      fc.array(
        fc.tuple(fc.constantFrom(...queryNames), fc.oneof(fc.constantFrom(...queryValues), fc.string())),
        { maxLength: 4 },
      ),
    ),
    headers: fc.dictionary(fc.constantFrom(...headerNames), headerValue, { maxKeys: 4 }),
    type: fc.constantFrom(
      'application/json',
      'application/json',
      'multipart/form-data; boundary=b',
      undefined,
    ),
    credentials,
    body: bodies,
  })
  .map(({ parts, query, headers, type, credentials: own, body }) => ({
    params: parts.map((each) => (typeof each === 'string' ? each : (known[each.known] ?? ''))),
    query:
      typeof query === 'string' ? query : query.map(([name, value]) => `${name}=${encoded(value)}`).join('&'),
    headers: { ...(type !== undefined && { 'content-type': type }), ...headers, ...own },
    body,
  }))

function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed())
}

async function assertHolds(route: Route | undefined, request: Asked): Promise<void> {
  const before = stored()
  const reply = await ask(route, request)
  if (reply.status < 400) return
  assertRefusal(reply)
  expect(JSON.stringify(reply)).not.toContain('dk_')
  expect(stored(), 'what a refused request has left').toBe(before)
}

describe(`whatever is sent (seed ${seed})`, () => {
  test.each(routes.map((route) => [`${route.method} ${route.path}`, route] as const))(
    '%s answers, refuses in one shape, and keeps nothing of what it refuses',
    async (_, route) => {
      await fc.assert(
        fc.asyncProperty(asked, async (request) => assertHolds(route, request)),
        { seed, numRuns: runsPerRoute },
      )
    },
  )

  test('a path that there is not', async () => {
    await fc.assert(
      fc.asyncProperty(asked, async (request) => assertHolds(undefined, request)),
      { seed, numRuns: runsPerRoute },
    )
  })
})
