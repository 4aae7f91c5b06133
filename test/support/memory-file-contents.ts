import { countBytes, PastBound, type FileContents } from '../../src/storage/file-contents.ts'

export type MemoryFileContents = FileContents & { readonly blobs: ReadonlyMap<string, Uint8Array> }

/** The bytes of files in memory. */
export function memoryFileContents(): MemoryFileContents {
  const blobs = new Map<string, Uint8Array>()
  return {
    blobs,
    async write({ id, content, sizeBytesMax }) {
      const counted = countBytes(content, sizeBytesMax)
      const chunks: Uint8Array[] = []
      try {
        for await (const chunk of counted.chunks()) chunks.push(chunk)
      } catch (error) {
        if (error instanceof PastBound) return undefined
        throw error
      }
      blobs.set(id, Buffer.concat(chunks))
      return counted.sizeBytes()
    },
    async read(id, range) {
      const bytes = blobs.get(id)
      return bytes && pieces(bytes.subarray(range?.from ?? 0, range?.before))
    },
    async link() {
      return undefined
    },

    async remove(id) {
      return blobs.delete(id)
    },
  }
}

/** In more than one piece, as they come from storage. */
async function* pieces(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  const size = 64 * 1024
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
}
