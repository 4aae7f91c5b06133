import { randomUUID } from 'node:crypto'
import { RestError, type BlobServiceClient } from '@azure/storage-blob'
import { bytesOf } from './blob-bytes.ts'
import type { BlobLinks } from './blob-links.ts'

export const fileContainer = 'files'

/** The bytes of files, under their ids; a seam below `fileStore`, like `Table`. */
export type FileContents = {
  /** Answers the size; undefined when it passes the bound, or throws what the content throws: then nothing was changed. */
  write(file: {
    readonly id: string
    readonly content: AsyncIterable<Uint8Array>
    readonly sizeBytesMax: number
  }): Promise<number | undefined>
  /** The bytes from `from` up to, and without, `before`; undefined when there are none. */
  read(id: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array> | undefined>
  /** A link to them for a quarter of an hour; undefined where storage can sign none. */
  link(id: string, facts: LinkFacts): Promise<string | undefined>
  /** False when there were none. */
  remove(id: string): Promise<boolean>
}

/** What the answer to a link says of the file. */
export type LinkFacts = { readonly contentType: string; readonly disposition: string }

export type ByteRange = { readonly from: number; readonly before: number }

/** What an upload holds in memory: these, and one that is being filled. A blob of 200 MB then has 50 of the 50,000 blocks that it may have. */
const blockBytes = 4 * 1024 * 1024
const blocksAtOnce = 2

/** Contents as block blobs. The container must exist. */
export function azureFileContents(blobs: BlobServiceClient, linkTo?: BlobLinks): FileContents {
  const container = blobs.getContainerClient(fileContainer)
  return {
    async write({ id, content, sizeBytesMax }) {
      const blob = container.getBlockBlobClient(id)
      const counted = countBytes(content, sizeBytesMax)
      const mark = randomUUID()
      const names: string[] = []
      const underWay = new Set<Promise<void>>()
      try {
        for await (const block of blocksOf(counted.chunks())) {
          const name = Buffer.from(`${mark}-${String(names.length).padStart(5, '0')}`).toString('base64')
          names.push(name)
          const staging: Promise<void> = blob.stageBlock(name, block, block.length).then(() => {
            underWay.delete(staging)
          })
          // It stays where it is waited for, and its fault is met there.
          staging.catch(() => {})
          underWay.add(staging)
          if (underWay.size >= blocksAtOnce) await Promise.race(underWay)
        }
        await Promise.all(underWay)
        await blob.commitBlockList(names)
        return counted.sizeBytes()
      } catch (error) {
        // One that came to storage behind the end would stay.
        await Promise.allSettled(underWay)
        await dropBlocks()
        if (error instanceof PastBound) return undefined
        throw error
      }

      /**
       * Blocks that no blob came of would be kept, and paid for, for a week. A blob that is there has none, or keeps
       * them; one that somebody else puts there meanwhile is left alone.
       */
      async function dropBlocks(): Promise<void> {
        try {
          const { etag } = await blob.commitBlockList([], { conditions: { ifNoneMatch: '*' } })
          if (etag !== undefined) await blob.deleteIfExists({ conditions: { ifMatch: etag } })
        } catch (error) {
          if (!(error instanceof RestError) || !isThere.has(error.statusCode ?? 0)) throw error
        }
      }
    },

    async read(id, range) {
      const blob = container.getBlobClient(id)
      return (await blob.exists()) ? bytesOf(blob, range) : undefined
    },

    link: async (id, facts) => linkTo?.({ container: fileContainer, blob: id, ...facts }),

    async remove(id) {
      const { succeeded } = await container.getBlobClient(id).deleteIfExists()
      return succeeded
    },
  }
}

/** What storage answers when a blob is there that should not be, or is not the one that it should be. */
const isThere: ReadonlySet<number> = new Set([409, 412])

async function* blocksOf(chunks: AsyncIterable<Uint8Array>): AsyncIterable<Buffer> {
  let parts: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of chunks) {
    parts.push(chunk)
    sizeBytes += chunk.length
    if (sizeBytes < blockBytes) continue
    yield Buffer.concat(parts)
    parts = []
    sizeBytes = 0
  }
  if (sizeBytes > 0) yield Buffer.concat(parts)
}

/** Content with more bytes than were allowed. */
export class PastBound extends Error {}

/** Passes the content on, and throws `PastBound` at the first byte too many. */
export function countBytes(
  content: AsyncIterable<Uint8Array>,
  sizeBytesMax: number,
): { chunks(): AsyncIterable<Uint8Array>; sizeBytes(): number } {
  let sizeBytes = 0
  return {
    async *chunks() {
      for await (const chunk of content) {
        sizeBytes += chunk.length
        if (sizeBytes > sizeBytesMax) throw new PastBound(`the content passes ${sizeBytesMax} bytes`)
        yield chunk
      }
    },
    sizeBytes: () => sizeBytes,
  }
}
