import { resolve } from 'node:path'
import type { DequeuedMessageItem, QueueServiceClient } from '@azure/storage-queue'
import { createFunctionApp } from './core-api.ts'
import type { FunctionApp } from './core-api.ts'
import type { LogLevel } from './log-entry.ts'
import { loadEntry } from './entry.ts'
import type { LocalFunction } from './function-metadata.ts'
import { readHostJson } from './host-json.ts'
import type { QueueSettings } from './host-json.ts'
import { usualBodyBytesMax } from './http-message.ts'
import { startHttpServer } from './http-server.ts'
import type { HttpFunction, HttpListener } from './http-server.ts'
import { startStreamServer } from './http-stream.ts'
import { createInvoke } from './invocation.ts'
import type { Invoke } from './invocation.ts'
import { describeError, pause } from './listener.ts'
import type { Listener } from './listener.ts'
import type { TypedData } from './programming-model.ts'
import { listenToQueue } from './queue-listener.ts'
import { readTriggerMetadata } from './queue-message.ts'
import { startTimer } from './timers.ts'

/** `url` has no slash at its end and no route prefix. `stop` resolves with the number of invocations given up. */
export type LocalHost = {
  readonly url: string
  stop(options: { graceMs: number }): Promise<{ abandoned: number }>
}

/** The appTerminate hooks have this long together; they should only flush what is buffered. */
const terminateLimitMs = 10_000

/**
 * Starts a function app the way Azure Functions does, on this machine: its queue, HTTP and timer triggers, and its
 * hooks. `rootDir` holds host.json and package.json. A port of 0 takes any free one. `queueService` stands for the
 * connection AzureWebJobsStorage. `log` gets one line at a time, as `[level] function: text`.
 *
 * Throws when host.json has faults, the entry file is missing or throws, or a trigger cannot be served.
 *
 * `stop` starts nothing more, runs the appTerminate hooks, waits up to `graceMs` for what runs, and gives up the rest. A message given up stays
 * invisible until its lease lapses: its run may be paying for a call at this moment, and must not be doubled.
 */
export async function startHost(options: {
  readonly rootDir: string
  readonly port: number
  readonly queueService: QueueServiceClient
  /** How long a message stays hidden while it is run; renewed at half. Without it as long as on Azure. */
  readonly messageLeaseMs?: number | undefined
  /** A longer request is answered with 413. Without it as on Azure, which takes FUNCTIONS_REQUEST_BODY_SIZE_LIMIT. */
  readonly bodyBytesMax?: number | undefined
  readonly log: (line: string) => void
}): Promise<LocalHost> {
  const rootDir = resolve(options.rootDir)
  const settings = await readHostJson(rootDir)
  const app = createFunctionApp(options.log)
  await loadEntry(rootDir, app)
  const log = (source: string, level: LogLevel, message: string) =>
    app.log({ source, level, category: 'system', message })
  const appHooks = { hookData: {}, appHookData: app.appHookData, functionAppDirectory: rootDir }
  await app.runHooks('appStart', appHooks)

  const stream = await startStreamServer(app.model())
  const invoke = createInvoke(app)
  const listeners: Listener[] = []
  let http: HttpListener
  try {
    http = await startHttpServer({
      functions: httpFunctions(app),
      routePrefix: settings.routePrefix,
      port: options.port,
      streamUri: stream.streamUri,
      bodyBytesMax: options.bodyBytesMax ?? usualBodyBytesMax,
      invoke,
      log,
    })
    listeners.push(http)
    for (const called of app.functions.values()) {
      listeners.push(
        ...startListeners({
          called,
          invoke,
          log,
          service: options.queueService,
          queues: settings.queues,
          leaseMs: options.messageLeaseMs,
        }),
      )
    }
  } catch (error) {
    await stopListeners(listeners, 0)
    stream.close()
    throw error
  }
  log('host', 'information', `${app.functions.size} functions at ${http.url}`)

  return {
    url: http.url,
    stop: async ({ graceMs }) => {
      const stopped = stopListeners(listeners, graceMs)
      // Not after the wait: the hooks are the only word of the end that a run under way can hear.
      try {
        await within(terminateLimitMs, app.runHooks('appTerminate', appHooks))
      } catch (error) {
        log('host', 'error', `an appTerminate hook threw: ${describeError(error)}`)
      }
      const abandoned = await stopped
      stream.close()
      return { abandoned }
    },
  }
}

function httpFunctions(app: FunctionApp): HttpFunction[] {
  return [...app.functions.values()].flatMap((called) =>
    called.trigger.kind === 'http' ? [{ called, trigger: called.trigger }] : [],
  )
}

/** Starts what listens for one function alone; an HTTP trigger has its place in the one server. */
function startListeners(options: {
  readonly called: LocalFunction
  readonly invoke: Invoke
  readonly log: (source: string, level: LogLevel, message: string) => void
  readonly service: QueueServiceClient
  readonly queues: QueueSettings
  readonly leaseMs: number | undefined
}): Listener[] {
  const { called, invoke, service, queues, leaseMs } = options
  const { trigger } = called
  const log = (level: LogLevel, message: string) => options.log(called.name, level, message)
  switch (trigger.kind) {
    case 'queue': {
      const run = async (message: DequeuedMessageItem, text: string) => {
        await invoke(called, { data: { string: text }, triggerMetadata: readTriggerMetadata(message, text) })
      }
      return [listenToQueue({ service, queueName: trigger.queueName, settings: queues, run, log, leaseMs })]
    }
    case 'timer': {
      const run = async (data: TypedData) => {
        await invoke(called, { data })
      }
      return [startTimer({ trigger, run, log })]
    }
    case 'http':
      return []
  }
}

/** Resolves with the number of invocations that were still running when the grace was over. */
async function stopListeners(listeners: readonly Listener[], graceMs: number): Promise<number> {
  await within(graceMs, Promise.all(listeners.map((listener) => listener.stop())))
  const abandoned = listeners.reduce((sum, listener) => sum + listener.running(), 0)
  for (const listener of listeners) listener.abandon()
  return abandoned
}

async function within(limitMs: number, work: Promise<unknown>): Promise<void> {
  const settled = new AbortController()
  try {
    await Promise.race([work, pause(limitMs, settled.signal)])
  } finally {
    settled.abort()
  }
}
