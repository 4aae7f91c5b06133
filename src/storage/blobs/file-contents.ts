import { RestError, type BlobServiceClient } from '@azure/storage-blob'
import type { ByteRange } from '../../ports/files.ts'
import { bytesOf } from './blob-bytes.ts'
import type { BlobLinks } from './blob-links.ts'
import { blockNames, countBytes, PastBound, stageBlocks } from './blocks.ts'
import { azureStagedContents, type StagedContents } from './staged-contents.ts'

export const fileContainer = 'files'

/** The bytes of files, under their ids; a seam below `fileStore` and `uploadStore`, like `Table`. */
export type FileContents = StagedContents & {
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
type LinkFacts = { readonly contentType: string; readonly disposition: string }

/** Contents as block blobs. The container must exist. */
export function azureFileContents(blobs: BlobServiceClient, linkTo?: BlobLinks): FileContents {
  const container = blobs.getContainerClient(fileContainer)
  return {
    ...azureStagedContents(container),

    async write({ id, content, sizeBytesMax }) {
      const blob = container.getBlockBlobClient(id)
      const counted = countBytes(content, sizeBytesMax)
      try {
        const run = await stageBlocks(blob, counted.chunks())
        await blob.commitBlockList([...blockNames(run)])
        return counted.sizeBytes()
      } catch (error) {
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
