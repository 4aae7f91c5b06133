import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import { BlobServiceClient } from '@azure/storage-blob'
import { QueueServiceClient, RestError } from '@azure/storage-queue'
import type { DequeuedMessageItem, QueueClient } from '@azure/storage-queue'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { startAzurite } from '../../src/local/azurite/azurite.ts'
import { listenToQueue } from '../../src/local/host/queue-listener.ts'
import { startTimer } from '../../src/local/host/timers.ts'
import { timerStatusStore } from '../../src/local/host/timer-status.ts'
import { createPollDelay } from '../../src/local/host/poll-delay.ts'
import { hostClock } from '../../src/local/host/clock.ts'
import type { HostOptions, HostOrder, HostReport } from './fixtures/run-host.ts'

const fixtures = join(import.meta.dirname, 'fixtures')
const service = QueueServiceClient.fromConnectionString(inject('azurite'))
const queueSettings = {
  batchSize: 2,
  newBatchThreshold: 1,
  maxPollingInterval: '00:00:00.2',
  visibilityTimeout: '00:00:00',
  maxDequeueCount: 2,
  messageEncoding: 'none',
}
let workDir: string
let appCount = 0
const children: ChildProcess[] = []

beforeAll(async () => {
  workDir = await mkdtemp(join(tmpdir(), 'host-test-'))
})

afterAll(async () => {
  // All have ended by themselves, unless a test failed.
  for (const child of children) child.kill('SIGKILL')
  await rm(workDir, { recursive: true })
})

describe('a running app', () => {
  let host: RunningHost
  beforeAll(async () => {
    host = await runHost(await bundledApp('functions.ts', { extensions: { queues: queueSettings } }))
  })
  afterAll(async () => {
    await host.stop(0)
  })

  test('runs a message once, with the metadata of the real host, and deletes it', async () => {
    const echo = host.queue('echo')
    const sent = await send(echo, '"text"')
    const call = await host.call('echo', ({ message }) => message === 'text')
    expect(call['metadata']).toEqual({
      queueTrigger: 'text',
      dequeueCount: 1,
      id: sent.messageId,
      insertionTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$/),
      expirationTime: expect.stringMatching(/\+00:00$/),
      nextVisibleTime: expect.stringMatching(/\+00:00$/),
      popReceipt: expect.any(String),
    })
    await vi.waitFor(async () => expect(await countOf(echo)).toBe(0))
    expect(host.lines).toEqual(expect.arrayContaining(['[info] echo: HEARD', '[info] echo: twice']))
  })

  test('lets the properties of a JSON message override its metadata', async () => {
    const at = '2001-01-01T00:00:00Z'
    const payload = { ID: 7, dequeuecount: 'many', own: true, at, nested: { A: 1 }, list: [1], none: null }
    await send(host.queue('echo'), JSON.stringify(payload))
    const { message, metadata } = await host.call('echo', ({ message }) => typeof message === 'object')
    expect(message).toEqual(payload)
    expect(metadata).toMatchObject({ id: 7, dequeueCount: 'many', own: 'True', nested: { a: 1 } })
    for (const none of ['2001-02-31T00:00:00Z', '2001-00-10T00:00:00Z', '2001-01-01T00:00:00+99:99']) {
      await send(host.queue('echo'), JSON.stringify({ none }))
      const call = await host.call('echo', ({ metadata }) => JSON.stringify(metadata).includes(none))
      expect(call['metadata']).toMatchObject({ none })
    }
    // A date in ISO form was a .NET date meanwhile.
    expect(metadata).toHaveProperty('at', '01/01/2001 00:00:00')
    expect(metadata).not.toHaveProperty('list')
    expect(metadata).not.toHaveProperty('none')
  })

  test('delivers a failed message again, then moves its body to the poison queue, which has no poison queue', async () => {
    const body = '{"prompt":"ä <&> \\u0001"}'
    await send(host.queue('fail'), body)
    await host.call('fail', ({ dequeueCount }) => dequeueCount === 1)
    await host.call('fail', ({ dequeueCount }) => dequeueCount === 2)
    const { message } = await host.call('poisoned')
    expect(message).toEqual(JSON.parse(body))
    await vi.waitFor(async () => expect(await countOf(host.queue('fail'))).toBe(0))
    expect(host.calls.filter(({ name }) => name === 'fail')).toHaveLength(2)
    expect(host.lines.join('\n')).toMatch(/\[error\] fail: message .* failed, attempt 2 of 2: Error: as told/)
    expect(host.lines.join('\n')).toMatch(/\[warn\] fail: .* goes to .*-fail-poison: 2 attempts failed/)

    // The failed poison message keeps its lease: it is still there, and nobody sees it.
    const poison = host.queue('fail-poison')
    expect(await countOf(poison)).toBe(1)
    expect((await poison.peekMessages()).peekedMessageItems).toEqual([])
    expect(await host.queue('fail-poison-poison').exists()).toBe(false)
  })

  test('moves a message that came too often to the poison queue unseen', async () => {
    const queue = service.getQueueClient(`${host.prefix}-late`)
    await queue.create()
    await send(queue, 'late')
    for (const _ of [1, 2]) await receiveOne(queue)
    const ran: string[] = []
    const listener = listenToQueue({
      ...listenerOptions(queue.name),
      run: async (_, text) => void ran.push(text),
    })
    await vi.waitFor(async () =>
      expect(await countOf(service.getQueueClient(`${queue.name}-poison`))).toBe(1),
    )
    await listener.stop()
    expect(ran).toEqual([])
    expect(await countOf(queue)).toBe(0)
  })

  test('never runs more than batchSize + newBatchThreshold messages at once', async () => {
    const count = 12
    for (let sent = 0; sent < count; sent += 1) await send(host.queue('hold'), sent % 2 === 0 ? '50' : '150')
    await vi.waitFor(
      () => expect(host.calls.filter(({ name }) => name === 'released')).toHaveLength(count),
      10_000,
    )
    const most = Math.max(...host.calls.map(({ holding }) => (typeof holding === 'number' ? holding : 0)))
    expect(most).toBe(3)
  })

  test('keeps the lease of a long run, and deletes it with the newest pop receipt', async () => {
    const queue = service.getQueueClient(`${host.prefix}-lease`)
    await queue.create()
    await send(queue, 'long')
    const counts: number[] = []
    const listener = listenToQueue({
      ...listenerOptions(queue.name),
      leaseMs: 1_000,
      settings: { ...listenerSettings, maxDequeueCount: 5 },
      run: async ({ dequeueCount }: DequeuedMessageItem) => {
        counts.push(dequeueCount)
        await delay(1_800)
      },
    })
    await vi.waitFor(async () => expect(await countOf(queue)).toBe(0), 5_000)
    await listener.stop()
    expect(counts).toEqual([1])
  })

  test('answers HTTP with route parameters, query, headers and body', async () => {
    const response = await fetch(`${host.url}/API/items/-7/front/?q=1&q=2&empty=`, {
      method: 'POST',
      headers: { 'x-agent': 'test' },
      body: 'hello',
    })
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.json()).toEqual({
      params: { id: '-7', part: 'front' },
      query: { q: '1,2' },
      url: `${host.url}/API/items/-7/front/?q=1&q=2&empty=`,
      agent: 'test',
      body: 'hello',
    })
    expect(await (await fetch(`${host.url}/api/items/7`)).json()).toHaveProperty('params', { id: '7' })
  })

  test('answers HTTP with status, headers, cookies and bytes', async () => {
    const body = Uint8Array.from({ length: 300 }, (_, index) => index)
    const response = await fetch(`${host.url}/api/files/a/b%20c`, { method: 'PUT', body })
    expect(response.status).toBe(201)
    expect(response.headers.get('content-type')).toBe('application/x-test')
    expect(response.headers.get('x-rest')).toBe('[a/b c]')
    expect(response.headers.getSetCookie()).toEqual(['a=b%20c; Max-Age=5; HttpOnly; SameSite=Strict'])
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(body.toReversed())
    expect((await fetch(`${host.url}/api/files`, { method: 'PUT' })).headers.get('x-rest')).toBe('[]')
    expect((await fetch(`${host.url}/api/silent`)).status).toBe(204)
  })

  test('gives a request to the first function by name whose route and methods match', async () => {
    const by = async (method: string) =>
      (await fetch(`${host.url}/api/either/way`, { method })).json().catch(() => undefined)
    expect(await by('GET')).toMatchObject({ by: 'first', params: { path: 'way' } })
    expect(await by('PUT')).toEqual({ by: 'later' })
    expect((await fetch(`${host.url}/api/either/way`, { method: 'DELETE' })).status).toBe(404)
  })

  test('answers what no function takes itself, without a word', async () => {
    for (const path of ['/items/7', '/api/nothing', '/api/items/seven', '//api/items/7']) {
      const answer = await fetch(host.url + path)
      expect([path, answer.status, await answer.text()]).toEqual([path, 404, ''])
    }
    expect((await fetch(`${host.url}/api/items/7`, { method: 'DELETE' })).status).toBe(404)
    expect((await fetch(`${host.url}/admin/host/status`)).status).toBe(401)
    expect((await fetch(`${host.url}/api/items/%00`)).status).toBe(400)
    expect(await raw(host.url, 'TRACE /api/items/7')).toMatch(/^HTTP\/1\.1 404 /)
    expect(await raw(host.url, 'BREW /api/items/7')).toMatch(/^HTTP\/1\.1 404 /)
    const startPage = await fetch(host.url)
    expect([startPage.status, startPage.headers.get('content-type')]).toEqual([200, 'text/html'])
  })

  test('answers 500 for a function that throws', async () => {
    expect((await fetch(`${host.url}/api/text-thrown`)).status).toBe(500)
    const thrown = await fetch(`${host.url}/api/boom`)
    expect([thrown.status, await thrown.text()]).toEqual([500, ''])
    await vi.waitFor(() =>
      expect(host.lines.join('\n')).toMatch(/\[error\] boom: failed on GET: .*Error: burst/),
    )
  })

  test('runs hooks around a function, which may replace its input, error and result', async () => {
    const response = await fetch(`${host.url}/api/hooked`)
    expect([response.status, await response.text()]).toEqual([200, 'replaced result'])
    const names = ['appStart', 'preInvocation', 'handler', 'postInvocation']
    const calls = host.calls.filter(({ name }) => names.includes(name))
    expect(calls.map(({ name }) => name)).toEqual(names)
    expect(calls.slice(2)).toMatchObject([
      { input: 'replaced input' },
      { seen: 'before', error: 'Error: hidden by the hook' },
    ])
  })

  test('runs a timer on its schedule and at startup, and never twice at once', async () => {
    expect((await host.call('yearly'))['timer']).toEqual({
      schedule: { adjustForDST: true },
      scheduleStatus: {
        last: '0001-01-01T00:00:00+00:00',
        next: expect.stringMatching(/-01-01T00:00:00\.000Z$/),
        lastUpdated: expect.stringMatching(/^\d{4}-/),
      },
      isPastDue: false,
    })
    await vi.waitFor(() => expect(seconds().length).toBeGreaterThanOrEqual(4), 10_000)
    expect(seconds().slice(0, 4)).toEqual(['second', 'second over', 'second', 'second over'])
    function seconds() {
      return host.calls.map(({ name }) => name).filter((name) => name.startsWith('second'))
    }
  })
})

describe('stop, for somebody at a terminal', () => {
  test('runs appTerminate, waits for what runs, and leaves nothing behind', async () => {
    const host = await runHost(await bundledApp('functions.ts', { extensions: { queues: queueSettings } }))
    await send(host.queue('hold'), '700')
    await host.call('held')
    expect(await host.stop(5_000)).toMatchObject({ abandoned: 0, exitCode: 0 })
    const names = host.calls.map(({ name }) => name)
    expect(names.indexOf('released')).toBeGreaterThan(0)
    // A run under way can hear of the end only while it runs.
    expect(names.indexOf('appTerminate')).toBeGreaterThan(0)
    expect(names.indexOf('released')).toBeGreaterThan(names.indexOf('appTerminate'))
    expect(await countOf(host.queue('hold'))).toBe(0)
    await expect(fetch(host.url)).rejects.toThrow('fetch failed')
  })

  test('abandons what outlasts the grace, whose message stays invisible', async () => {
    const host = await runHost(await bundledApp('functions.ts', { extensions: { queues: queueSettings } }))
    await vi.waitFor(() => expect(host.calls.map(({ name }) => name)).toContain('second over'), 5_000)
    await send(host.queue('hold'), '1500')
    await host.call('held')
    const { abandoned } = await host.stop(100)
    // The timer that fires every second may be running too.
    expect(abandoned).toBeGreaterThanOrEqual(1)
    expect(await countOf(host.queue('hold'))).toBe(1)
    expect((await host.queue('hold').peekMessages()).peekedMessageItems).toEqual([])
  })
})

describe('a platform’s SIGTERM', () => {
  test('goes on taking messages for 10 s, cuts what runs then, and runs appTerminate last', async () => {
    const rootDir = await bundledApp('functions.ts', { extensions: { queues: queueSettings } })
    const host = await runHost(rootDir, { speed: 5 })
    await send(host.queue('hold'), '60000')
    await host.call('held')
    const terminated = host.terminate()
    await vi.waitFor(async () => expect(fetch(host.url)).rejects.toThrow('fetch failed'))
    // Two more runs have room beside it: one ends in time, the other is cut.
    await send(host.queue('hold'), '100')
    await host.call('released')
    await send(host.queue('hold'), '60000')
    await host.call('held', ({ holding }) => holding === 2)
    const { abandoned, tookMs, exitCode } = await terminated
    expect({ abandoned, exitCode }).toEqual({ abandoned: expect.any(Number), exitCode: 0 })
    expect(abandoned).toBeGreaterThanOrEqual(2)
    expect(tookMs).toBeGreaterThanOrEqual(10_000)
    expect(tookMs).toBeLessThan(30_000)
    const names = host.calls.map(({ name }) => name)
    expect(names.filter((name) => name === 'released')).toHaveLength(1)
    expect(names.indexOf('appTerminate')).toBeGreaterThan(names.lastIndexOf('held'))
    // Both are invisible until their leases lapse.
    expect(await countOf(host.queue('hold'))).toBe(2)
    expect((await host.queue('hold').peekMessages()).peekedMessageItems).toEqual([])
  })

  test('gives HTTP requests 30 s before that', async () => {
    const host = await runHost(await bundledApp('functions.ts', {}), { speed: 10 })
    // 20 s by the host's clock.
    const slow = fetch(`${host.url}/api/slow/2000`)
    await host.call('slow')
    const terminated = host.terminate()
    expect(await (await slow).text()).toBe('slow')
    expect((await terminated).tookMs).toBeGreaterThan(10_000)
  })
})

describe('a worker', () => {
  test('that is killed alone is replaced, and what ran in it comes back', async () => {
    const queues = { ...queueSettings, maxDequeueCount: 5 }
    const host = await runHost(await bundledApp('functions.ts', { extensions: { queues } }))
    await send(host.queue('hold'), '5000')
    const { pid } = await host.call('held')
    const cut = fetch(`${host.url}/api/slow/5000`)
    await host.call('slow')
    host.order({ kind: 'kill-worker' })
    expect((await cut).status).toBe(500)
    await host.call('held', (call) => call['pid'] !== pid)
    expect((await fetch(`${host.url}/api/items/1`)).status).toBe(200)
    expect(host.lines.join('\n')).toContain('[error] host: the worker ended; another is started')
    await host.stop(0)
  })

  test('that cannot be started again ends the host, which is told why', async () => {
    const rootDir = await makeApp('once.mjs', {})
    const library = pathToFileURL(
      join(import.meta.dirname, '../../node_modules/@azure/functions/dist/azure-functions.js'),
    )
    const source = `import fs from 'node:fs'
      import functions from ${JSON.stringify(library.href)}
      if (fs.existsSync(${JSON.stringify(join(rootDir, 'seen'))})) throw new Error('only once')
      fs.writeFileSync(${JSON.stringify(join(rootDir, 'seen'))}, '')
      functions.app.http('one', { handler: () => ({ body: 'one' }) })`
    await writeFile(join(rootDir, 'once.mjs'), source)
    const host = await runHost(rootDir, { speed: 10 })
    expect(await (await fetch(`${host.url}/api/one`)).text()).toBe('one')
    host.order({ kind: 'kill-worker' })
    expect((await host.endedItself()).why).toMatch(/the worker could not be started again .*only once/)
  })

  test('that is replaced while a body comes gets the whole of it', async () => {
    const host = await runHost(await bundledApp('streaming.ts', {}))
    const slow = request(`${host.url}/api/length`, { method: 'POST', headers: { 'content-length': 10 } })
    const answered: Promise<IncomingMessage[]> = once(slow, 'response')
    slow.write('12345')
    host.order({ kind: 'kill-worker' })
    await vi.waitUntil(() => host.lines.join().includes('another is started'))
    slow.end('67890')
    const [answer] = await answered
    expect(answer?.statusCode).toBe(200)
    answer?.resume()
    expect(await host.stop(1_000)).toMatchObject({ abandoned: 0 })
  })

  test('is replaced under all that runs when a function runs for too long', async () => {
    const queues = { ...queueSettings, maxDequeueCount: 5 }
    const rootDir = await bundledApp('functions.ts', { functionTimeout: '00:00:05', extensions: { queues } })
    const host = await runHost(rootDir)
    await send(host.queue('hold'), '60000')
    const { pid } = await host.call('held')
    // The one timer that is running then takes less.
    await vi.waitUntil(() => host.calls.some((call) => call.name === 'held' && call['pid'] !== pid), 20_000)
    expect(host.lines.join('\n')).toContain('hold ran for longer than functionTimeout allows')
    await host.stop(0)
  })
})

describe('a timer', () => {
  test('that was missed while no host ran is made up for at the start, and told that it is past due', async () => {
    const blobs = BlobServiceClient.fromConnectionString(inject('azurite'))
    const statuses = timerStatusStore(blobs)
    const functionName = `missed-${process.pid}`
    const runs: unknown[] = []
    const start = (name: string) =>
      startTimer({
        functionName: name,
        trigger: {
          kind: 'timer',
          bindingName: 'timer',
          schedule: '0 0 0 1 1 *',
          runOnStartup: false,
          useMonitor: true,
        },
        statuses,
        run: async ({ json = '' }) => void runs.push(JSON.parse(json)),
        log: () => {},
      })
    const [missed, fresh] = [start(functionName), start(`${functionName}-fresh`)]
    await vi.waitUntil(async () => (await statuses.read(`${functionName}-fresh`)) !== undefined)
    await Promise.all([missed.stop(), fresh.stop()])
    // Neither has ever run, so neither is past due.
    expect(runs).toEqual([])
    const record = await statuses.read(functionName)
    expect(record).toMatchObject({ Last: '0001-01-01T00:00:00+00:00' })

    await statuses.write(functionName, { ...record!, Next: '2026-01-01T00:00:00.000Z' })
    const again = start(functionName)
    await vi.waitUntil(() => runs.length > 0)
    await again.stop()
    const stopped = start(`${functionName}-stopped`)
    await stopped.stop()
    expect(runs).toMatchObject([{ IsPastDue: true, ScheduleStatus: { Next: '2026-01-01T00:00:00.000Z' } }])
    const after = await statuses.read(functionName)
    expect(Date.parse(after!.Next)).toBeGreaterThan(Date.now())
    expect(Date.parse(after!.Last)).toBeGreaterThan(Date.parse('2026-01-01'))
  })
})

test('reads base64 messages when the app wants them, and poisons what is none', async () => {
  const queues = { ...queueSettings, messageEncoding: 'base64' }
  const host = await runHost(
    await plainApp('functions.ts', { extensions: { queues, http: { routePrefix: '' } } }),
  )
  await send(host.queue('echo'), 'not base64!')
  await send(host.queue('echo'), Buffer.from('{"ä":1}').toString('base64'))
  expect((await host.call('echo'))['message']).toEqual({ ä: 1 })
  const poison = host.queue('echo-poison')
  await vi.waitFor(async () => expect(await countOf(poison)).toBe(1))
  expect((await receiveOne(poison)).messageText).toBe('not base64!')
  expect(host.calls.filter(({ name }) => name === 'echo')).toHaveLength(1)
  expect((await fetch(`${host.url}/items/1`)).status).toBe(200)
  await host.stop(0)
})

describe('with streams', () => {
  let host: RunningHost
  beforeAll(async () => {
    host = await runHost(await bundledApp('streaming.ts', {}), { speed: 100, bodyBytesMax: 100_000 })
  })
  afterAll(async () => {
    expect(await host.stop(1_000)).toMatchObject({ abandoned: 0, exitCode: 0 })
  })

  test('a response comes piece by piece, with the invocation’s id', async () => {
    const streamed = await fetch(`${host.url}/api/stream/one`)
    expect(streamed.headers.get('content-type')).toBe('text/event-stream')
    expect(streamed.headers.get('x-ms-invocation-id')).toMatch(/^[0-9a-f-]{36}$/)
    const reader = streamed.body!.pipeThrough(new TextDecoderStream()).getReader()
    expect((await reader.read()).value).toBe('one ')
    const released = await fetch(`${host.url}/api/release`, { method: 'POST', body: 'two' })
    expect(await released.text()).toBe('ok')
    expect((await reader.read()).value).toBe('two')
    expect((await reader.read()).done).toBe(true)
  })

  test('a path comes as the real host has it', async () => {
    const item = async (path: string) => raw(host.url, `GET /api/${path}`)
    expect(await item('items/a%2Fb')).toMatch(/"params":\{"id":"a%2Fb"\},"url":"[^"]+\/items\/a%252Fb"/)
    expect(await item('items/%ZZ')).toContain('"params":{"id":"%ZZ"}')
    expect(await item('items/%FF')).toContain('"params":{"id":"%FF"}')
    expect(await item('items/%C3%A4%20b')).toMatch(/"params":\{"id":"ä b"\},"url":"[^"]+\/%C3%A4%20b"/)
    expect(await item('items/../items/7')).toMatch(/"params":\{"id":"7"\},"url":"[^"]+\/api\/items\/7"/)
    expect(await item('items/%00')).toMatch(/^HTTP\/1\.1 400 [^]*\r\n\r\n$/)
  })

  test('the route that holds nothing gets the start page', async () => {
    const rooted = await runHost(
      await bundledApp('streaming.ts', { extensions: { http: { routePrefix: '' } } }),
      { hasHomepage: false },
    )
    expect(await (await fetch(rooted.url)).text()).toBe('home')
    expect((await fetch(rooted.url, { method: 'POST' })).status).toBe(204)
    await rooted.stop(0)
  })

  test.each([
    ['throws', '/api/boom', 500],
    ['breaks off in the middle of its body', '/api/break', 200],
  ])('a function that %s leaves its reply open for 242 s', async (_, path, status) => {
    const startedAt = performance.now()
    const answer = await fetch(host.url + path)
    expect(answer.status).toBe(status)
    if (status === 500) expect(await answer.text()).toBe('')
    else await expect(answer.text()).rejects.toThrow('terminated')
    const tookMs = 100 * (performance.now() - startedAt)
    expect(tookMs).toBeGreaterThan(242_000)
  })

  describe('a body', () => {
    const form = (bytes: number) => ({ method: 'POST', body: new Uint8Array(bytes) })

    test('of known length is read whole before the function is asked', async () => {
      const before = host.calls.length
      const slow = request(`${host.url}/api/length`, { method: 'POST', headers: { 'content-length': 10 } })
      const answered: Promise<IncomingMessage[]> = once(slow, 'response')
      slow.write('12345')
      await delay(300)
      expect(host.calls).toHaveLength(before)
      slow.end('67890')
      const [answer] = await answered
      expect(answer?.statusCode).toBe(200)
      answer?.resume()
      await host.call('length')
    })

    test('in chunks is read as it comes', async () => {
      const before = host.calls.length
      const slow = request(`${host.url}/api/length`, { method: 'POST' })
      slow.write('12345')
      await vi.waitUntil(() => host.calls.length > before)
      slow.end()
      await once(slow, 'response')
    })

    test('of a length that passes the limit is an empty 500, and the function is not asked', async () => {
      const before = host.calls.length
      const answer = await fetch(`${host.url}/api/length`, form(100_001))
      expect([answer.status, answer.headers.get('connection'), await answer.text()]).toEqual([
        500,
        'close',
        '',
      ])
      expect(host.calls).toHaveLength(before)
      expect((await fetch(`${host.url}/api/length`, form(100_000))).status).toBe(200)
    })

    test('in chunks that pass the limit is an empty 500', async () => {
      const body = new Blob([new Uint8Array(300_000)]).stream()
      const answer = await fetch(`${host.url}/api/length`, { method: 'POST', body, duplex: 'half' })
      expect([answer.status, answer.headers.get('connection'), await answer.text()]).toEqual([
        500,
        'close',
        '',
      ])
    })
  })

  test('40 KB of headers are a 431', async () => {
    const answer = await fetch(`${host.url}/api/items/1`, { headers: { 'x-long': 'x'.repeat(40_000) } })
    expect(answer.status).toBe(431)
  })
})

describe('refuses to start', () => {
  test.each([
    [
      'a batchSize out of range',
      { extensions: { queues: { batchSize: 33 } } },
      'extensions.queues.batchSize: got 33.',
    ],
    [
      'a polling interval that is too short',
      { extensions: { queues: { maxPollingInterval: '00:00:00.05' } } },
      'extensions.queues.maxPollingInterval',
    ],
  ])('with %s', async (_, hostJson, reason) => {
    await expect(runHost(await plainApp('functions.ts', hostJson))).rejects.toThrow(reason)
  })

  test('without an entry file', async () => {
    const rootDir = await makeApp('dist/functions.cjs', {})
    await expect(runHost(rootDir)).rejects.toThrow(
      /no file in .* matches "main" in package.json, dist\/functions.cjs/,
    )
  })

  test('with an entry file that throws, or registers nothing', async () => {
    const rootDir = await makeApp('functions.mjs', {})
    await writeFile(join(rootDir, 'functions.mjs'), 'throw new Error("no settings")')
    await expect(runHost(rootDir)).rejects.toThrow(/functions.mjs threw: Error: no settings/)
    await writeFile(join(rootDir, 'functions.mjs'), '')
    await expect(runHost(rootDir)).rejects.toThrow(/registered no function/)
  })
})

test('storage out of reach for six tries, 23 s, ends the host', async () => {
  const azurite = await startAzurite({})
  const rootDir = await bundledApp('functions.ts', { extensions: { queues: queueSettings } })
  const host = await runHost(rootDir, { speed: 10 }, azurite.connectionString)
  await vi.waitFor(async () =>
    expect(await host.queueIn(azurite.connectionString, 'echo').exists()).toBe(true),
  )
  await azurite.stop()
  const awayAt = performance.now()
  const { why } = await host.endedItself()
  expect(why).toBe('storage is out of reach')
  // By the host's clock; the 10 s for what runs are over at once when nothing does.
  expect(10 * (performance.now() - awayAt)).toBeGreaterThan(22_000)
  expect(host.lines.join('\n')).toMatch(/\[critical\] host: storage is out of reach: the host ends itself/)
})

test('storage that answers with an error is polled again', async () => {
  const queue = service.getQueueClient(`busy-${process.pid}`)
  const ran: string[] = []
  let refused = 0
  const busy = new Proxy(service, {
    get: (target, name) =>
      name !== 'getQueueClient'
        ? Reflect.get(target, name)
        : (queueName: string) => {
            const client = target.getQueueClient(queueName)
            const receive = client.receiveMessages.bind(client)
            client.receiveMessages = async (options) => {
              if ((refused += 1) <= 8) throw new RestError('busy', { statusCode: 503 })
              return receive(options)
            }
            return client
          },
  })
  const listener = listenToQueue({
    ...listenerOptions(queue.name),
    service: busy,
    run: async (_, text) => void ran.push(text),
    onUnreachable: () => ran.push('unreachable'),
  })
  await send(queue, 'back')
  await vi.waitFor(() => expect(ran).toEqual(['back']), 10_000)
  await listener.stop()
})

test('the poll delay starts short, about doubles, stays at its limit, and starts again', () => {
  const pollDelay = createPollDelay(1_000, () => 0.5)
  expect(Array.from({ length: 7 }, () => pollDelay.next())).toEqual([100, 200, 300, 500, 900, 1_000, 1_000])
  pollDelay.reset()
  expect(pollDelay.next()).toBe(100)
})

type RunningHost = Awaited<ReturnType<typeof runHost>>
/** What a fixture function has to tell, by a line on its console. */
type Call = { readonly name: string; readonly [detail: string]: unknown }

/** Starts a host in a process of its own, so that it must end by itself. */
async function runHost(
  rootDir: string,
  options: Omit<HostOptions, 'rootDir'> = {},
  connectionString = inject('azurite'),
) {
  const prefix = `q${process.pid}-${(appCount += 1)}`
  const lines: string[] = []
  const calls: Call[] = []
  const child = fork(join(fixtures, 'run-host.ts'), [JSON.stringify({ rootDir, ...options })], {
    env: { ...process.env, AzureWebJobsStorage: connectionString, QUEUE_PREFIX: prefix },
  })
  children.push(child)
  const exited = once(child, 'exit')
  const stopped = Promise.withResolvers<{ abandoned: number; tookMs: number }>()
  const ended = Promise.withResolvers<{ why: string; afterMs: number }>()
  const url = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the host's process ended with ${code}`)))
    child.on('message', (report: HostReport) => {
      if (report.kind === 'started') resolve(report.url)
      if (report.kind === 'refused') reject(new Error(report.reason))
      if (report.kind === 'stopped') stopped.resolve(report)
      if (report.kind === 'ended-itself') ended.resolve(report)
      if (report.kind === 'line') {
        if (report.line.startsWith('CALL ')) calls.push(JSON.parse(report.line.slice(5)))
        else lines.push(report.line)
      }
    })
  })
  const order = (order: HostOrder) => child.send(order)
  /** Resolves when the process has ended by itself. */
  const endedBy = async (what: HostOrder) => {
    order(what)
    const [exitCode] = await exited
    const { abandoned, tookMs } = await stopped.promise
    return { abandoned, tookMs, exitCode: Number(exitCode) }
  }
  return {
    url,
    prefix,
    lines,
    calls,
    order,
    queue: (name: string) => service.getQueueClient(`${prefix}-${name}`),
    queueIn: (account: string, name: string) =>
      QueueServiceClient.fromConnectionString(account).getQueueClient(`${prefix}-${name}`),
    call: (name: string, wanted: (call: Call) => boolean = () => true) =>
      vi.waitFor(() => {
        const found = calls.find((call) => call.name === name && wanted(call))
        if (found === undefined)
          throw new Error(`no call of ${name} among ${JSON.stringify(calls)}\n${lines.join('\n')}`)
        return found
      }, 10_000),
    stop: async (graceMs: number) => endedBy({ kind: 'stop', graceMs }),
    terminate: async () => endedBy({ kind: 'terminate' }),
    endedItself: async () => {
      await exited
      return ended.promise
    },
  }
}

/** Sends a request that no client would, and reads all that comes. */
async function raw(url: string, line: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.write(`${line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`)
  return text(socket)
}

/** An app as Darkroom ships it: one CommonJS bundle in a package of ES modules. */
async function bundledApp(fixture: string, hostJson: object): Promise<string> {
  const rootDir = await makeApp('dist/functions.cjs', hostJson)
  await build({
    entryPoints: [join(fixtures, fixture)],
    outfile: join(rootDir, 'dist/functions.cjs'),
    bundle: true,
    platform: 'node',
    format: 'cjs',
    external: ['@azure/functions-core'],
    logLevel: 'warning',
  })
  return rootDir
}

/** An app of ES modules in TypeScript, found by a glob. */
async function plainApp(fixture: string, hostJson: object): Promise<string> {
  const rootDir = await makeApp('functions/*.{mjs,ts}', hostJson)
  await mkdir(join(rootDir, 'functions'))
  const source = `import ${JSON.stringify(pathToFileURL(join(fixtures, fixture)).href)}`
  await writeFile(join(rootDir, 'functions/all.ts'), source)
  return rootDir
}

async function makeApp(main: string, hostJson: object): Promise<string> {
  const rootDir = await mkdtemp(join(workDir, 'app-'))
  await writeFile(join(rootDir, 'package.json'), JSON.stringify({ type: 'module', main }))
  await writeFile(join(rootDir, 'host.json'), JSON.stringify({ version: '2.0', ...hostJson }))
  return rootDir
}

const listenerSettings = {
  batchSize: 2,
  newBatchThreshold: 1,
  maxPollingIntervalMs: 200,
  visibilityTimeoutMs: 0,
  maxDequeueCount: 1,
  messageEncoding: 'none' as const,
}

function listenerOptions(queueName: string) {
  return {
    service,
    queueName,
    settings: listenerSettings,
    clock: hostClock(),
    onUnreachable: () => undefined,
    log: () => undefined,
  }
}

/** The host makes its queues at its first poll, which the test may outrun. */
async function send(queue: QueueClient, text: string) {
  await queue.createIfNotExists()
  return queue.sendMessage(text)
}

async function receiveOne(queue: QueueClient): Promise<DequeuedMessageItem> {
  const message = (await queue.receiveMessages()).receivedMessageItems[0]
  if (message === undefined) throw new Error(`${queue.name} is empty`)
  await queue.updateMessage(message.messageId, message.popReceipt, undefined, 0)
  return message
}

async function countOf(queue: QueueClient): Promise<number> {
  return (await queue.getProperties()).approximateMessagesCount ?? 0
}
