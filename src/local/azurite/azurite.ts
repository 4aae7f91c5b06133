import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import type { Server } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { z } from 'zod'
import { quickenMessages, type MessageStore } from './azurite-messages.ts'

/** Where Azurite's three services listen, on 127.0.0.1. */
export type AzuritePorts = { readonly blob: number; readonly queue: number; readonly table: number }

export type Azurite = { readonly connectionString: string; stop(): Promise<void> }

/** The ports on which Azurite, Storage Explorer and `UseDevelopmentStorage=true` expect to meet. */
export const usualPorts: AzuritePorts = { blob: 10000, queue: 10001, table: 10002 }

/** Azurite's account, the same everywhere and published by Microsoft: it guards nothing. */
const developmentAccount = {
  name: 'devstoreaccount1',
  key: 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==',
} as const

const anyFreePorts: AzuritePorts = { blob: 0, queue: 0, table: 0 }

/** An Azurite on this machine answers within milliseconds; a port that is silent this long is not one. */
const answerLimitMs = 2_000

/**
 * Starts Azurite's blob, queue and table services in this process, on 127.0.0.1 only and without a word on the
 * console. `location` is the folder that keeps the data, in the layout of Azurite's own command; without it the data
 * lives in memory. A port of 0 takes any free one. Throws when a port is taken.
 */
export async function startAzurite(options: {
  readonly location?: string
  readonly ports?: AzuritePorts
}): Promise<Azurite> {
  const { location, ports = anyFreePorts } = options
  if (location !== undefined) await mkdir(location, { recursive: true })
  const servers = createServers(location, ports)
  const started: AzuriteServer[] = []
  const stop = async () => {
    await Promise.all(started.splice(0).map(close))
  }
  for (const [service, server] of Object.entries(servers)) {
    try {
      await server.start()
    } catch (cause) {
      await stop()
      throw new Error(`Azurite's ${service} service could not start on 127.0.0.1: ${String(cause)}`, {
        cause,
      })
    }
    started.push(server)
  }
  return {
    connectionString: connectionStringFor({
      blob: portOf(servers.blob),
      queue: portOf(servers.queue),
      table: portOf(servers.table),
    }),
    stop,
  }
}

/** Whether an Azurite already answers on all three of these ports, so that it can be used instead of a new one. */
export async function azuriteAnswers(ports: AzuritePorts): Promise<boolean> {
  const answers = await Promise.all(Object.values(ports).map((port: number) => isAzurite(port)))
  return answers.every(Boolean)
}

/** The connection string of the Azurite that listens on these ports. */
export function connectionStringFor(ports: AzuritePorts): string {
  const endpoint = (port: number) => `http://127.0.0.1:${port}/${developmentAccount.name}`
  return [
    'DefaultEndpointsProtocol=http',
    `AccountName=${developmentAccount.name}`,
    `AccountKey=${developmentAccount.key}`,
    `BlobEndpoint=${endpoint(ports.blob)}`,
    `QueueEndpoint=${endpoint(ports.queue)}`,
    `TableEndpoint=${endpoint(ports.table)}`,
    '',
  ].join(';')
}

async function isAzurite(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/${developmentAccount.name}?comp=list`, {
      signal: AbortSignal.timeout(answerLimitMs),
    })
    await response.body?.cancel()
    return response.headers.get('server')?.startsWith('Azurite') ?? false
  } catch (error) {
    // fetch throws a TypeError when nobody listens or the answer is no HTTP, a TimeoutError at the limit.
    if (error instanceof TypeError || (error instanceof Error && error.name === 'TimeoutError')) return false
    throw error
  }
}

type AzuriteServer = {
  readonly httpServer: Server
  start(): Promise<void>
  close(): Promise<void>
  getHttpServerAddress(): string
}

/** Azurite's own `close` saves the data but does not wait for the port, which a restart may need at once. */
async function close(server: AzuriteServer): Promise<void> {
  const closed = once(server.httpServer, 'close')
  await server.close()
  server.httpServer.closeAllConnections()
  await closed
}

type Constructor<Made> = new (...args: readonly unknown[]) => Made

/**
 * Builds the three servers from Azurite's inner files, because its main file needs Visual Studio Code. Telemetry stays
 * off: only Azurite's commands start it. The order of the arguments is that of azurite 3.37.0.
 */
function createServers(location: string | undefined, ports: AzuritePorts) {
  const inMemory = location === undefined
  const path = (name: string) => join(location ?? '', name)
  const extents = (folder: string, maxConcurrency: number) => [
    { locationId: 'Default', locationPath: path(folder), maxConcurrency },
  ]
  const account = (port: number) => ['127.0.0.1', port, keepAliveSeconds]
  const quiet = { accessLog: [false, undefined], debugLog: [false, undefined] }
  // The second is `skipApiVersionCheck`: @azure/storage-blob 12.34 asks for a newer version than azurite 3.37 knows.
  const security = [false, true, '', '', '', undefined, false]
  const BlobConfiguration = loadClass<object>('blob/BlobConfiguration')
  const BlobServer = loadClass<AzuriteServer>('blob/BlobServer')
  const QueueConfiguration = loadClass<object>('queue/QueueConfiguration')
  const QueueServer = loadClass<AzuriteServer & { readonly metadataStore: MessageStore }>('queue/QueueServer')
  const TableConfiguration = loadClass<object>('table/TableConfiguration')
  const TableServer = loadClass<AzuriteServer>('table/TableServer')
  const blob = new BlobConfiguration(
    ...account(ports.blob),
    path('__azurite_db_blob__.json'),
    path('__azurite_db_blob_extent__.json'),
    extents('__blobstorage__', 50),
    ...quiet.accessLog,
    ...quiet.debugLog,
    ...security,
    inMemory,
  )
  const queue = new QueueConfiguration(
    ...account(ports.queue),
    path('__azurite_db_queue__.json'),
    path('__azurite_db_queue_extent__.json'),
    extents('__queuestorage__', 1),
    ...quiet.accessLog,
    ...quiet.debugLog,
    ...security,
    inMemory,
  )
  const table = new TableConfiguration(
    ...account(ports.table),
    path('__azurite_db_table__.json'),
    false,
    ...quiet.accessLog,
    undefined,
    ...security,
    inMemory,
  )
  const servers = {
    blob: new BlobServer(blob),
    queue: new QueueServer(queue),
    table: new TableServer(table),
  }
  quickenMessages(servers.queue.metadataStore)
  return servers
}

/** Azurite's own default. */
const keepAliveSeconds = 5

const load = createRequire(import.meta.url)

/** Loaded when asked for and not at import: reading Azurite takes half a second that a real account does not need. */
function loadClass<Made>(path: string): Constructor<Made> {
  const isClass = z.custom<Constructor<Made>>((value) => typeof value === 'function', 'not a class')
  return z.object({ default: isClass }).parse(load(`azurite/dist/src/${path}.js`)).default
}

function portOf(server: AzuriteServer): number {
  // Azurite writes https here even when it serves http (3.37.0), so only the port is taken.
  return Number(new URL(server.getHttpServerAddress()).port)
}
