import { randomUUID } from 'node:crypto'
import { TableClient } from '@azure/data-tables'
import { inject } from 'vitest'
import { inputContainer } from '../../src/core/requests/input-ref.ts'
import type { HookMessage, Messages, TickMessage, WorkMessage } from '../../src/ports/messages.ts'
import type { ImageStore } from '../../src/ports/images.ts'
import type { InputStore } from '../../src/ports/inputs.ts'
import { azureTable } from '../../src/storage/tables/azure-table.ts'
import { connectStorage, type StorageConnection } from '../../src/storage/connection.ts'
import { azureFileContents, fileContainer, type FileContents } from '../../src/storage/blobs/file-contents.ts'
import { azureImageStore, imageContainer } from '../../src/storage/blobs/images.ts'
import { azureInputStore } from '../../src/storage/blobs/inputs.ts'
import {
  azureMessages,
  hookMessageSchema,
  queueNames,
  tickMessageSchema,
  workMessageSchema,
} from '../../src/storage/queues.ts'
import type { Table } from '../../src/storage/tables/table.ts'
import { memoryFileContents } from '../support/memory-file-contents.ts'
import { memoryImages } from '../support/memory-images.ts'
import { memoryInputs } from '../support/memory-inputs.ts'
import { memoryMessages } from '../support/memory-messages.ts'
import { memoryTable } from '../support/memory-table.ts'

/** Messages, and what of them a reader of the queues would be handed now. */
export type MessagesUnderTest = {
  readonly messages: Messages
  visibleNow(): Promise<{
    readonly work: readonly WorkMessage[]
    readonly ticks: readonly TickMessage[]
    readonly hooks: readonly HookMessage[]
  }>
}

/** A kind of store that every contract is run against. */
export type Store = {
  readonly name: string
  readonly makeTable: () => Promise<Table>
  readonly makeFileContents: () => Promise<FileContents>
  readonly makeImages: () => Promise<ImageStore>
  readonly makeInputs: () => Promise<InputStore>
  readonly makeMessages: () => Promise<MessagesUnderTest>
}

export const stores: readonly Store[] = [
  {
    name: 'memory',
    makeTable: async () => memoryTable(),
    makeFileContents: async () => memoryFileContents(),
    makeImages: async () => memoryImages(),
    makeInputs: async () => memoryInputs(),
    async makeMessages() {
      const messages = memoryMessages()
      const visible = <T>(sent: readonly { message: T; visibleAt: number }[]): T[] =>
        sent.filter(({ visibleAt }) => visibleAt <= Date.now()).map(({ message }) => message)
      return {
        messages,
        visibleNow: async () => ({
          work: visible(messages.work),
          ticks: visible(messages.ticks),
          hooks: visible(messages.hooks),
        }),
      }
    },
  },
  {
    name: 'Azurite',
    async makeTable() {
      const name = `t${randomUUID().replaceAll('-', '')}`
      const client = TableClient.fromConnectionString(inject('azurite'), name, {
        allowInsecureConnection: true,
      })
      await client.createTable()
      return azureTable(client)
    },
    async makeFileContents() {
      const { blobs } = await connect()
      await blobs.getContainerClient(fileContainer).createIfNotExists()
      return azureFileContents(blobs)
    },
    async makeImages() {
      const storage = await connect()
      await storage.blobs.getContainerClient(imageContainer).createIfNotExists()
      return azureImageStore(storage, Date)
    },
    async makeInputs() {
      const storage = await connect()
      await storage.blobs.getContainerClient(inputContainer).createIfNotExists()
      return azureInputStore(storage)
    },
    async makeMessages() {
      const { queues } = await connect()
      await queues.createQueue(queueNames.work)
      await queues.createQueue(queueNames.pacer)
      await queues.createQueue(queueNames.webhooks)
      const peek = async (name: string): Promise<unknown[]> => {
        const { peekedMessageItems } = await queues
          .getQueueClient(name)
          .peekMessages({ numberOfMessages: 32 })
        return peekedMessageItems.map(({ messageText }) => JSON.parse(messageText) as unknown)
      }
      return {
        messages: azureMessages(queues, Date),
        visibleNow: async () => ({
          work: (await peek(queueNames.work)).map((body) => workMessageSchema.parse(body)),
          ticks: (await peek(queueNames.pacer)).map((body) => tickMessageSchema.parse(body)),
          hooks: (await peek(queueNames.webhooks)).map((body) => hookMessageSchema.parse(body)),
        }),
      }
    },
  },
]

/** A name that no other test, and no other run, uses. */
export function uniqueName(prefix: string): string {
  return `${prefix}-${randomUUID().slice(0, 8)}`
}

async function connect(): Promise<StorageConnection> {
  return connectStorage({ kind: 'connection-string', connectionString: inject('azurite') }, () =>
    Promise.reject(new Error('a connection string needs no credential')),
  )
}
