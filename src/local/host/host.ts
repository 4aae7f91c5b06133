import { resolve } from 'node:path'
import type { BlobServiceClient } from '@azure/storage-blob'
import type { DequeuedMessageItem, QueueServiceClient } from '@azure/storage-queue'
import { hostClock, within, type HostClock } from './clock.ts'
import type { LocalFunction } from './function-metadata.ts'
import { readHostJson, type HostSettings } from './host-json.ts'
import { startHttpServer, type HttpFunction } from './http/http-server.ts'
import type { Listener } from './listener.ts'
import { levelPrefix, type LogLevel } from './log-entry.ts'
import type { TypedData } from './programming-model.ts'
import { listenToQueue } from './queue-listener.ts'
import { readTriggerMetadata } from './queue-message.ts'
import { timerStatusStore } from './timer-status.ts'
import { startTimer } from './timers.ts'
import { keepWorker, type KeptWorker } from './worker/worker-keeper.ts'
import type { Measured } from './worker/worker.ts'

/** `url` has no slash at its end and no route prefix. What stops it resolves with the number of invocations given up. */
export type LocalHost = {
  readonly url: string
  /** Resolves with why, when the host has ended itself. */
  readonly endedItself: Promise<string>
  /**
   * What a platform's SIGTERM does (recorded, 2026-11-30): new connections are refused at once, HTTP requests get up to 30 s,
   * and then all that runs 10 s. Queues and timers are listened to all that time, so runs that begin in it are cut. The
   * appTerminate hooks come at the very end, when they can stop nothing any more.
   */
  terminate(): Promise<{ readonly abandoned: number }>
  /**
   * For somebody at a terminal, which no platform has: nothing new is begun, the appTerminate hooks run at once, and what
   * runs gets `graceMs`.
   */
  stop(options: { readonly graceMs: number }): Promise<{ readonly abandoned: number }>
  /** What the process that runs the functions holds. */
  measure(): Promise<Measured>
}

type StorageServices = { readonly blobs: BlobServiceClient; readonly queues: QueueServiceClient }

/** How long requests, and then all that runs, have when the host is told to end. */
const httpDrainMs = 30_000
const callsMs = 10_000

/** How often it is looked whether all that runs has ended. */
const idleLookMs = 100

/** The appTerminate hooks have this long together; they should only flush what is buffered. */
const terminateLimitMs = 10_000

/**
 * Starts a function app the way Azure Functions does, on this machine: its queue, HTTP and timer triggers, and its
 * hooks, run by a process of its own. `rootDir` holds host.json and package.json. A port of 0 takes any free one.
 * `storage` stands for the connection AzureWebJobsStorage; its clients should try each request once, for the host has its
 * own rule of when to try again. `log` gets one line at a time, as `[level] function: text`.
 *
 * Throws when host.json has faults, the entry file is missing or throws, or a trigger cannot be served. Ends itself when
 * storage is out of reach for six tries of a queue, or its worker cannot be started again.
 *
 * A message whose run is given up stays invisible until its lease lapses: the run may be paying for a call at this moment,
 * and must not be doubled.
 */
export async function startHost(options: {
  readonly rootDir: string
  readonly port: number
  readonly storage: StorageServices
  /** How long a message stays hidden while it is run; renewed at half. Without it as long as on Azure. */
  readonly messageLeaseMs?: number | undefined
  /** A longer body is answered with an empty 500. FUNCTIONS_REQUEST_BODY_SIZE_LIMIT; without it as on Azure. */
  readonly bodyBytesMax?: number | undefined
  /** AzureWebJobsDisableHomepage. */
  readonly hasHomepage?: boolean | undefined
  readonly clock?: HostClock | undefined
  readonly log: (line: string) => void
}): Promise<LocalHost> {
  const {
    clock = hostClock(),
    messageLeaseMs,
    bodyBytesMax = usualBodyBytesMax,
    hasHomepage = true,
  } = options
  const rootDir = resolve(options.rootDir)
  const settings = await readHostJson(rootDir)
  const log = (source: string, level: LogLevel, message: string): void => {
    for (const line of message.split('\n')) options.log(`${levelPrefix[level]} ${source}: ${line}`)
  }
  const { functionTimeoutMs, routePrefix } = settings
  const lost = Promise.withResolvers<string>()
  const worker = await keepWorker({
    rootDir,
    functionTimeoutMs,
    clock,
    log: options.log,
    warn: (message) => log('host', 'error', message),
    onLost: lost.resolve,
  })
  const listeners: Listener[] = []
  let ending: Promise<{ readonly abandoned: number }> | undefined
  let url: string
  try {
    const http = await startHttpServer({
      functions: httpFunctions(worker.functions),
      routePrefix,
      port: options.port,
      bodyBytesMax,
      hasHomepage,
      worker,
      clock,
      log,
    })
    url = http.url
    listeners.push(http)
    for (const called of worker.functions) {
      const listener = startListener({
        called,
        settings,
        worker,
        storage: options.storage,
        messageLeaseMs,
        onUnreachable: () => lost.resolve('storage is out of reach'),
        clock,
        log: (level, message) => log(called.name, level, message),
      })
      if (listener !== undefined) listeners.push(listener)
    }
  } catch (error) {
    for (const listener of listeners) listener.abandon()
    await worker.end()
    throw error
  }
  log('host', 'information', `${worker.functions.length} functions at ${url}`)
  const [http, ...others] = listeners

  function abandon(): { readonly abandoned: number } {
    const abandoned = running(listeners)
    for (const listener of listeners) listener.abandon()
    return { abandoned }
  }

  async function endWorker(): Promise<void> {
    try {
      await within(clock, terminateLimitMs, worker.terminate())
    } finally {
      await worker.end()
    }
  }

  async function terminateNow(): Promise<{ readonly abandoned: number }> {
    await within(clock, httpDrainMs, http?.stop() ?? Promise.resolve())
    const over = new AbortController()
    await within(clock, callsMs, idle(others, clock, over.signal)).finally(() => over.abort())
    const ended = abandon()
    await endWorker()
    return ended
  }

  async function stopNow(graceMs: number): Promise<{ readonly abandoned: number }> {
    const stopped = Promise.all(listeners.map(async (listener) => listener.stop()))
    // Not after the wait: the hooks are the only word of the end that a run under way can hear.
    await within(clock, terminateLimitMs, worker.terminate())
    await within(clock, graceMs, stopped)
    const ended = abandon()
    await worker.end()
    return ended
  }

  return {
    url,
    endedItself: lost.promise.then(async (why) => {
      log('host', 'critical', `${why}: the host ends itself`)
      await (ending ??= terminateNow())
      return why
    }),
    terminate: async () => (ending ??= terminateNow()),
    stop: async ({ graceMs }) => (ending ??= stopNow(graceMs)),
    measure: async () => (await worker.current()).measure(),
  }
}

/** Azure's limit on a request's body where FUNCTIONS_REQUEST_BODY_SIZE_LIMIT does not say otherwise. */
const usualBodyBytesMax = 100 * 1024 * 1024

function httpFunctions(functions: readonly LocalFunction[]): HttpFunction[] {
  return functions.flatMap(({ name, trigger }) => (trigger.kind === 'http' ? [{ name, ...trigger }] : []))
}

/** Starts what listens for one function alone; an HTTP trigger has its place in the one server. */
function startListener(options: {
  readonly called: LocalFunction
  readonly settings: HostSettings
  readonly worker: KeptWorker
  readonly storage: StorageServices
  readonly messageLeaseMs: number | undefined
  readonly onUnreachable: () => void
  readonly clock: HostClock
  readonly log: (level: LogLevel, message: string) => void
}): Listener | undefined {
  const { called, settings, worker, storage, messageLeaseMs: leaseMs, onUnreachable, clock, log } = options
  const { name, trigger } = called
  switch (trigger.kind) {
    case 'queue': {
      const run = async (message: DequeuedMessageItem, text: string) => {
        const triggerMetadata = readTriggerMetadata(message, text)
        await worker.invoke(name, { data: { string: text }, triggerMetadata })
      }
      const { queueName } = trigger
      const { queues } = settings
      const service = storage.queues
      return listenToQueue({ service, queueName, settings: queues, run, onUnreachable, clock, log, leaseMs })
    }
    case 'timer': {
      const run = async (data: TypedData) => {
        await worker.invoke(name, { data })
      }
      const statuses = timerStatusStore(storage.blobs)
      return startTimer({ functionName: name, trigger, statuses, run, log })
    }
    case 'http':
      return undefined
  }
}

function running(listeners: readonly Listener[]): number {
  return listeners.reduce((sum, listener) => sum + listener.running(), 0)
}

/** Resolves when nothing runs; more may begin to run meanwhile. */
async function idle(listeners: readonly Listener[], clock: HostClock, over: AbortSignal): Promise<void> {
  while (running(listeners) > 0 && !over.aborted) await clock.pause(idleLookMs, over)
}
