import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BlobServiceClient } from '@azure/storage-blob'
import { TableServiceClient } from '@azure/data-tables'
import { QueueServiceClient } from '@azure/storage-queue'
import { afterEach, expect, inject, test } from 'vitest'
import { azuriteAnswers, connectionStringFor, startAzurite } from '../../../src/local/azurite/azurite.ts'
import type { Azurite, AzuritePorts } from '../../../src/local/azurite/azurite.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

test('serves blobs, queues and tables, and keeps quiet', async () => {
  const connection = inject('azurite')
  const name = `azurite-${process.pid}`
  await BlobServiceClient.fromConnectionString(connection).createContainer(name)
  await QueueServiceClient.fromConnectionString(connection).createQueue(name)
  const tables = TableServiceClient.fromConnectionString(connection, { allowInsecureConnection: true })
  await tables.createTable(name.replace('-', ''))
  expect(await readdir('.')).not.toContain('debug.log')
})

test('keeps its data in a folder, and gives its ports back', async () => {
  const location = await mkdtemp(join(tmpdir(), 'azurite-'))
  cleanups.push(() => rm(location, { recursive: true }))
  const first = await startAzurite({ location })
  const ports = portsOf(first)
  await QueueServiceClient.fromConnectionString(first.connectionString).createQueue('kept')
  await first.stop()
  const second = await startAzurite({ location, ports })
  cleanups.push(() => second.stop())
  expect(second.connectionString).toBe(connectionStringFor(ports))
  expect(await queueNames(second)).toEqual(['kept'])
})

test('knows an Azurite that is already there, and names the port that is taken', async () => {
  const azurite = await startAzurite({})
  cleanups.push(() => azurite.stop())
  const ports = portsOf(azurite)
  expect(await azuriteAnswers(ports)).toBe(true)
  expect(await azuriteAnswers({ ...ports, blob: 1 })).toBe(false)
  const taken = { ports: { blob: 0, queue: ports.queue, table: 0 } }
  await expect(startAzurite(taken)).rejects.toThrow(`queue service could not start on 127.0.0.1`)
})

function portsOf({ connectionString }: Azurite): AzuritePorts {
  const port = (service: string) =>
    Number(new RegExp(`${service}Endpoint=[^;]*:(\\d+)/`).exec(connectionString)?.[1])
  return { blob: port('Blob'), queue: port('Queue'), table: port('Table') }
}

async function queueNames({ connectionString }: Azurite): Promise<string[]> {
  const names: string[] = []
  for await (const { name } of QueueServiceClient.fromConnectionString(connectionString).listQueues())
    names.push(name)
  return names
}
