import { hash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RestError, type QueueServiceClient } from '@azure/storage-queue'
import type { ContainerClient } from '@azure/storage-blob'
import type { TableClient } from '@azure/data-tables'
import type { ReceivedRequest } from '../../src/local/deployment/log.ts'
import { azureTable } from '../../src/storage/tables/azure-table.ts'
import type { Entity } from '../../src/storage/tables/table.ts'
import type { Sent } from './messages.ts'
import type { Results } from './submitted.ts'
import type { Counts } from './watch.ts'

/** All that a run has left behind, as everyone who had a part in it tells it. */
export type Records = {
  readonly sent: readonly Sent[]
  /** The batch that was submitted by file, and what its result files tell; undefined: it did not end. */
  readonly submitted: string
  readonly results: Results | undefined
  /** Rows of the job table, by batch. */
  readonly rows: ReadonlyMap<string, readonly Entity[]>
  /** What `GET /v1/batches/{name}` says of each batch. */
  readonly counts: ReadonlyMap<string, Counts>
  /** What the simulated deployment has seen. */
  readonly log: readonly ReceivedRequest[]
  readonly pictures: ReadonlyMap<string, Picture>
  /** Messages on each poison queue. */
  readonly poisoned: ReadonlyMap<string, number>
  readonly contradictions: readonly string[]
  readonly crashes: readonly string[]
  /** When each host was killed, in epoch milliseconds. */
  readonly killedAt: readonly number[]
  /** Whether every job was final, and every message gone, before the run lost patience. */
  readonly isAtRest: boolean
  readonly rpm: number
}

export type Picture = { readonly sha256: string; readonly storedAt: number }

/** For whoever wants to know why: all of it as JSON, in a file whose path is returned. */
export async function keep(records: Records, seed: number): Promise<string> {
  const path = join(tmpdir(), `darkroom-chaos-${seed}.json`)
  const withMaps = (_: string, value: unknown): unknown =>
    value instanceof Map ? Object.fromEntries(value) : value
  await writeFile(path, JSON.stringify(records, withMaps, 1))
  return path
}

export async function readRows(table: TableClient): Promise<ReadonlyMap<string, readonly Entity[]>> {
  const batches = new Set<string>()
  for await (const { partitionKey } of table.listEntities({ queryOptions: { select: ['PartitionKey'] } })) {
    if (partitionKey !== undefined) batches.add(partitionKey)
  }
  const rows = await Promise.all(
    [...batches].map(async (batch): Promise<[string, readonly Entity[]]> => {
      const all = { partition: batch, from: '', before: '\uffff', limit: Infinity }
      return [batch, await azureTable(table).range(all)]
    }),
  )
  return new Map(rows)
}

export async function readPictures(container: ContainerClient): Promise<ReadonlyMap<string, Picture>> {
  const pictures = new Map<string, Picture>()
  for await (const { name, properties } of container.listBlobsFlat()) {
    const bytes = await container.getBlobClient(name).downloadToBuffer()
    pictures.set(name, { sha256: hash('sha256', bytes), storedAt: properties.lastModified.getTime() })
  }
  return pictures
}

/** How many messages each queue holds, hidden ones included; a queue that nobody made holds none. */
export async function messagesOn(
  queues: QueueServiceClient,
  names: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const counted = await Promise.all(
    names.map(async (name): Promise<[string, number]> => {
      try {
        const { approximateMessagesCount } = await queues.getQueueClient(name).getProperties()
        return [name, approximateMessagesCount ?? 0]
      } catch (error) {
        if (error instanceof RestError && error.statusCode === 404) return [name, 0]
        throw error
      }
    }),
  )
  return new Map(counted)
}
