import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import { QueueServiceClient } from '@azure/storage-queue'
import type { DequeuedMessageItem, QueueClient } from '@azure/storage-queue'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { startAzurite } from '../../src/local/azurite.ts'
import { listenToQueue } from '../../src/local/host/queue-listener.ts'
import { createPollDelay } from '../../src/local/host/poll-delay.ts'
import { readRoute } from '../../src/local/host/http-route.ts'
import type { HostReport } from './fixtures/run-host.ts'

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
    const payload = { ID: 7, dequeuecount: 'many', own: true, nested: { A: 1 }, list: [1], none: null }
    await send(host.queue('echo'), JSON.stringify(payload))
    const { message, metadata } = await host.call('echo', ({ message }) => typeof message === 'object')
    expect(message).toEqual(payload)
    expect(metadata).toMatchObject({ id: 7, dequeueCount: 'many', own: 'True', nested: { a: 1 } })
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

  test('answers 404, 405, 413 and 500 itself', async () => {
    for (const path of ['/items/7', '/api/nothing', '/api/items/seven']) {
      expect((await fetch(host.url + path)).status).toBe(404)
    }
    const wrongMethod = await fetch(`${host.url}/api/items/7`, { method: 'DELETE' })
    expect([wrongMethod.status, wrongMethod.headers.get('allow')]).toEqual([405, 'GET, POST'])

    const tooLong = request(`${host.url}/api/items/7`, {
      method: 'POST',
      headers: { 'content-length': 104_857_601 },
    })
    tooLong.flushHeaders()
    const [refused]: IncomingMessage[] = await once(tooLong, 'response')
    tooLong.destroy()
    expect(refused?.statusCode).toBe(413)

    expect((await fetch(`${host.url}/api/text-thrown`)).status).toBe(500)
    const thrown = await fetch(`${host.url}/api/boom`)
    expect([thrown.status, await thrown.text()]).toEqual([500, ''])
    await vi.waitFor(() =>
      expect(host.lines.join('\n')).toMatch(/\[error\] boom: failed on GET \/api\/boom: Error: burst/),
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
        lastUpdated: '0001-01-01T00:00:00+00:00',
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

describe('stop', () => {
  test('runs appTerminate, waits for what runs, and leaves nothing behind', async () => {
    const host = await runHost(await bundledApp('functions.ts', { extensions: { queues: queueSettings } }))
    await send(host.queue('hold'), '700')
    await host.call('held')
    expect(await host.stop(5_000)).toEqual({ abandoned: 0, exitCode: 0 })
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

test('streams a response piece by piece, and 500 when the function throws', async () => {
  const host = await runHost(await bundledApp('streaming.ts', {}))
  const streamed = await fetch(`${host.url}/api/stream/one`)
  expect(streamed.headers.get('content-type')).toBe('text/event-stream')
  const reader = streamed.body!.pipeThrough(new TextDecoderStream()).getReader()
  expect((await reader.read()).value).toBe('one ')
  const released = await fetch(`${host.url}/api/release`, { method: 'POST', body: 'two' })
  expect(await released.text()).toBe('ok')
  expect((await reader.read()).value).toBe('two')
  expect((await reader.read()).done).toBe(true)
  expect((await fetch(`${host.url}/api/boom`)).status).toBe(500)
  expect(await host.stop(1_000)).toEqual({ abandoned: 0, exitCode: 0 })
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

test('polls on when storage was away', async () => {
  const location = await mkdtemp(join(workDir, 'azurite-'))
  const first = await startAzurite({ location })
  const client = QueueServiceClient.fromConnectionString(first.connectionString, {
    retryOptions: { maxTries: 1 },
  })
  const queue = client.getQueueClient('away')
  const ran: string[] = []
  const lines: string[] = []
  const listener = listenToQueue({
    ...listenerOptions(queue.name),
    service: client,
    log: (level, message) => lines.push(`${level} ${message}`),
    run: async (_, text) => void ran.push(text),
  })
  await vi.waitFor(async () => expect(await queue.exists()).toBe(true), 5_000)
  await first.stop()
  await vi.waitFor(
    () => expect(lines.join('\n')).toMatch(/warning receiving messages failed: .*ECONNREFUSED/),
    5_000,
  )
  const port = (service: string) =>
    Number(new URL(new RegExp(`${service}Endpoint=([^;]*)`).exec(first.connectionString)?.[1] ?? '').port)
  const second = await startAzurite({
    location,
    ports: { blob: port('Blob'), queue: port('Queue'), table: port('Table') },
  })
  await queue.sendMessage('back')
  await vi.waitFor(() => expect(ran).toEqual(['back']), 5_000)
  await listener.stop()
  await second.stop()
})

test('the poll delay starts short, about doubles, stays at its limit, and starts again', () => {
  const pollDelay = createPollDelay(1_000, () => 0.5)
  expect(Array.from({ length: 7 }, () => pollDelay.next())).toEqual([100, 200, 300, 500, 900, 1_000, 1_000])
  pollDelay.reset()
  expect(pollDelay.next()).toBe(100)
})

test('a route that cannot be served is named', () => {
  expect(() => readRoute('api', 'a/{id:regex(^x$)}')).toThrow('got the route parameter {id:regex(^x$)}')
  expect(() => readRoute('api', 'a/{id:decimal}')).toThrow('got the route constraint "decimal"')
  expect(readRoute('', '/')).toEqual([{ path: '/', restName: undefined }])
})

test('what takes any path may say what it must look like', () => {
  const [atRoot, below] = readRoute('', '{*path:regex(^(?!admin|runtime).+$)}')
  expect([atRoot?.path, below?.path, below?.restName]).toEqual(['/', '/*', 'path'])
  const isTaken = (path: string) => below?.rest?.test(path)
  expect(['v1/jobs', 'x', '', 'admin/host', 'Admin', 'runtime/webhooks'].map(isTaken)).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ])
})

type RunningHost = Awaited<ReturnType<typeof runHost>>
type Call = Extract<HostReport, { kind: 'call' }>

/** Starts a host in a process of its own, because a process can hold one function app only. */
async function runHost(rootDir: string) {
  const prefix = `q${process.pid}-${(appCount += 1)}`
  const lines: string[] = []
  const calls: Call[] = []
  const child = fork(join(fixtures, 'run-host.ts'), [rootDir], {
    env: { ...process.env, AzureWebJobsStorage: inject('azurite'), QUEUE_PREFIX: prefix },
  })
  children.push(child)
  const exited = once(child, 'exit')
  let abandoned = 0
  const url = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the host's process ended with ${code}`)))
    child.on('message', (report: HostReport) => {
      if (report.kind === 'started') resolve(report.url)
      if (report.kind === 'refused') reject(new Error(report.reason))
      if (report.kind === 'stopped') abandoned = report.abandoned
      if (report.kind === 'line') lines.push(report.line)
      if (report.kind === 'call') calls.push(report)
    })
  })
  return {
    url,
    prefix,
    lines,
    calls,
    queue: (name: string) => service.getQueueClient(`${prefix}-${name}`),
    call: (name: string, wanted: (call: Call) => boolean = () => true) =>
      vi.waitFor(() => {
        const found = calls.find((call) => call.name === name && wanted(call))
        if (found === undefined)
          throw new Error(`no call of ${name} among ${JSON.stringify(calls)}\n${lines.join('\n')}`)
        return found
      }, 5_000),
    /** Resolves when the process has ended by itself. */
    stop: async (graceMs: number) => {
      child.send({ graceMs })
      const [exitCode] = await exited
      return { abandoned, exitCode: Number(exitCode) }
    },
  }
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
  return { service, queueName, settings: listenerSettings, log: () => undefined }
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
