import { TableClient } from '@azure/data-tables'
import type { TokenCredential } from '@azure/identity'
import {
  BlobServiceClient,
  newPipeline as blobPipeline,
  StorageSharedKeyCredential,
} from '@azure/storage-blob'
import { QueueServiceClient, newPipeline as queuePipeline } from '@azure/storage-queue'
import type { StorageSettings } from '../settings.ts'
import { hearDatesOf, hearsDates, type DateListener } from './server-dates.ts'

/** The clients of one storage account. */
export type StorageConnection = {
  readonly blobs: BlobServiceClient
  readonly queues: QueueServiceClient
  table(name: string): TableClient
  /** Links to blobs can be signed with the account's key, with a key of the identity, or not at all. */
  readonly signing: 'account-key' | 'user-delegation' | 'none'
}

type ConnectionOptions = {
  /** Is told the dates of the answers that come through these clients. */
  readonly listener?: DateListener
  /** How often a request to blobs and queues is sent, at most. Without it as often as the clients' own default has it. */
  readonly triesMax?: number
}

/** `credential` is asked for only where the settings name no key. */
export async function connectStorage(
  settings: StorageSettings,
  credential: () => Promise<TokenCredential>,
  { listener = nobody, triesMax }: ConnectionOptions = {},
): Promise<StorageConnection> {
  const made = {
    listener,
    options: triesMax === undefined ? {} : { retryOptions: { maxTries: triesMax } },
  }
  if (settings.kind === 'connection-string') {
    const { connectionString } = settings
    const { url, credential: key } = BlobServiceClient.fromConnectionString(connectionString)
    const { url: queueUrl } = QueueServiceClient.fromConnectionString(connectionString)
    const blobs = listenedBlobs(url, key, made)
    const hasKey = key instanceof StorageSharedKeyCredential
    const allowInsecureConnection = isLocal(url)
    return {
      blobs,
      queues: listenedQueues(queueUrl, key, made),
      table: (name) =>
        hearDatesOf(
          TableClient.fromConnectionString(connectionString, name, { allowInsecureConnection }),
          listener,
        ),
      // A link over plain HTTP would carry its signature in the open.
      signing: hasKey && url.startsWith('https:') ? 'account-key' : 'none',
    }
  }
  const token = await credential()
  return {
    blobs: listenedBlobs(settings.blobUri, token, made),
    queues: listenedQueues(settings.queueUri, token, made),
    table: (name) => hearDatesOf(new TableClient(settings.tableUri, name, token), listener),
    signing: 'user-delegation',
  }
}

const nobody: DateListener = { now: () => 0, heard() {} }

type Credential = BlobServiceClient['credential']

type Made = {
  readonly listener: DateListener
  readonly options: { readonly retryOptions?: { readonly maxTries: number } }
}

/** A pipeline takes policies only before its first client is made of it. */
function listenedBlobs(url: string, credential: Credential, { listener, options }: Made): BlobServiceClient {
  const pipeline = blobPipeline(credential, options)
  pipeline.factories.push(hearsDates(listener))
  return new BlobServiceClient(url, pipeline)
}

function listenedQueues(
  url: string,
  credential: Credential,
  { listener, options }: Made,
): QueueServiceClient {
  const pipeline = queuePipeline(credential, options)
  pipeline.factories.push(hearsDates(listener))
  return new QueueServiceClient(url, pipeline)
}

function isLocal(url: string): boolean {
  return ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url).hostname)
}
