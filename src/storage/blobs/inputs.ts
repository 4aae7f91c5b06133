import { buffer } from 'node:stream/consumers'
import { webcrypto } from 'node:crypto'
import { RestError } from '@azure/storage-blob'
import { inputContainer, keptPrefix } from '../../core/requests/input-ref.ts'
import type { InputStore } from '../../ports/inputs.ts'
import type { StorageConnection } from '../connection.ts'

/** Images that edits start from, in the container `inputs`. */
export function azureInputStore({ blobs }: Pick<StorageConnection, 'blobs'>): InputStore {
  const container = blobs.getContainerClient(inputContainer)
  return {
    async read(name, bytesMax) {
      const client = container.getBlobClient(name)
      try {
        const { readableStreamBody, contentRange, contentLength = 0 } = await client.download(0, bytesMax)
        if (readableStreamBody === undefined) throw new Error('a blob came without its content')
        const bytes = await buffer(readableStreamBody)
        return { bytes, sizeBytes: Number(/\/(\d+)$/.exec(contentRange ?? '')?.[1] ?? contentLength) }
      } catch (error) {
        if (!(error instanceof RestError)) throw error
        if (error.statusCode === 404) return undefined
        // No range of an empty blob can be read.
        if (error.statusCode === 416) return { bytes: new Uint8Array(), sizeBytes: 0 }
        throw error
      }
    },

    async keep(name, bytes) {
      await container.getBlockBlobClient(name).uploadData(bytes)
    },

    async *keptBefore(at) {
      for await (const { name, properties } of container.listBlobsFlat({ prefix: keptPrefix })) {
        if (properties.lastModified.getTime() < at) yield name
      }
    },

    async remove(name) {
      await container.getBlobClient(name).deleteIfExists()
    },

    async fingerprint(bytes) {
      const hash = await webcrypto.subtle.digest('SHA-256', new Uint8Array(bytes))
      return Buffer.from(hash).toString('hex').slice(0, 32)
    },
  }
}
