import { TableClient } from '@azure/data-tables'
import type { TokenCredential } from '@azure/identity'
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { QueueServiceClient } from '@azure/storage-queue'
import type { StorageSettings } from '../settings.ts'

/** The clients of one storage account. */
export type StorageConnection = {
  readonly blobs: BlobServiceClient
  readonly queues: QueueServiceClient
  table(name: string): TableClient
  /** Links to blobs can be signed with the account's key, with a key of the identity, or not at all. */
  readonly signing: 'account-key' | 'user-delegation' | 'none'
}

/** `credential` is asked for only where the settings name no key. */
export async function connectStorage(
  settings: StorageSettings,
  credential: () => Promise<TokenCredential>,
): Promise<StorageConnection> {
  if (settings.kind === 'connection-string') {
    const { connectionString } = settings
    const blobs = BlobServiceClient.fromConnectionString(connectionString)
    const hasKey = blobs.credential instanceof StorageSharedKeyCredential
    return {
      blobs,
      queues: QueueServiceClient.fromConnectionString(connectionString),
      table: (name) =>
        TableClient.fromConnectionString(connectionString, name, {
          allowInsecureConnection: isLocal(blobs.url),
        }),
      // A link over plain HTTP would carry its signature in the open.
      signing: hasKey && blobs.url.startsWith('https:') ? 'account-key' : 'none',
    }
  }
  const token = await credential()
  return {
    blobs: new BlobServiceClient(settings.blobUri, token),
    queues: new QueueServiceClient(settings.queueUri, token),
    table: (name) => new TableClient(settings.tableUri, name, token),
    signing: 'user-delegation',
  }
}

function isLocal(url: string): boolean {
  return ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url).hostname)
}
