import { randomUUID } from 'node:crypto'
import type { BlockBlobClient } from '@azure/storage-blob'
import { limits } from '../../core/limits.ts'
import { gathered } from '../../core/pieces.ts'

/** Blocks of a blob that came one after the other; they wait to be committed. */
export type BlockRun = { readonly mark: string; readonly blocks: number }

/**
 * Puts content there in blocks, some of them at once. It may throw what the content throws; no block is on its way any
 * more then, and those that have come stay.
 */
export async function stageBlocks(
  blob: BlockBlobClient,
  content: AsyncIterable<Uint8Array>,
): Promise<BlockRun> {
  const mark = randomUUID()
  const underWay = new Set<Promise<void>>()
  let blocks = 0
  try {
    for await (const chunks of gathered(content, {
      size: limits.fileBlockBytes,
      sizeOf: ({ length }) => length,
    })) {
      const block = Buffer.concat(chunks)
      const staging: Promise<void> = blob.stageBlock(nameOf(mark, blocks), block, block.length).then(() => {
        underWay.delete(staging)
      })
      blocks += 1
      // It stays where it is waited for, and its fault is met there.
      staging.catch(() => {})
      underWay.add(staging)
      if (underWay.size >= limits.fileBlocksAtOnce) await Promise.race(underWay)
    }
    await Promise.all(underWay)
    return { mark, blocks }
  } catch (error) {
    // One that came to storage behind the end would stay.
    await Promise.allSettled(underWay)
    throw error
  }
}

export function blockNames({ mark, blocks }: BlockRun): readonly string[] {
  return Array.from({ length: blocks }, (_, index) => nameOf(mark, index))
}

/** Names of blocks of one blob must be of one length. */
function nameOf(mark: string, index: number): string {
  return Buffer.from(`${mark}-${String(index).padStart(5, '0')}`).toString('base64')
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
