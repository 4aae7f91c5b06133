import { limits } from '../../src/core/limits.ts'
import { countBytes, PastBound } from '../../src/storage/blobs/blocks.ts'
import type { FileContents } from '../../src/storage/blobs/file-contents.ts'

export type MemoryFileContents = FileContents & {
  readonly blobs: ReadonlyMap<string, Uint8Array>
  /** Ids under which bytes wait to be joined. */
  waiting(): readonly string[]
}

type Run = { readonly run: string; readonly bytes: Uint8Array }

/** The bytes of files in memory. */
export function memoryFileContents(): MemoryFileContents {
  const blobs = new Map<string, Uint8Array>()
  const joined = new Map<string, readonly Run[]>()
  const waiting = new Map<string, readonly Run[]>()
  let runs = 0
  const held = (id: string): readonly Run[] => [...(joined.get(id) ?? []), ...(waiting.get(id) ?? [])]
  const wait = (id: string, bytes: Uint8Array): string => {
    const run = `run-${(runs += 1)}`
    waiting.set(id, [...(waiting.get(id) ?? []), { run, bytes }])
    return run
  }
  return {
    blobs,
    waiting: () => [...waiting.keys()],
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
      joined.delete(id)
      return blobs.delete(id)
    },

    async stage({ id, content, sizeBytesMax }) {
      const counted = countBytes(content, sizeBytesMax)
      const chunks: Uint8Array[] = []
      try {
        for await (const chunk of counted.chunks()) chunks.push(chunk)
      } catch (error) {
        // Whole blocks have come to storage by then.
        const bytes = Buffer.concat(chunks)
        const whole = bytes.length - (bytes.length % limits.fileBlockBytes)
        if (whole > 0) wait(id, bytes.subarray(0, whole))
        if (error instanceof PastBound) return undefined
        throw error
      }
      return { run: wait(id, Buffer.concat(chunks)), sizeBytes: counted.sizeBytes() }
    },
    async join(id, wanted) {
      const there = new Map(held(id).map((each) => [each.run, each]))
      const found = wanted.flatMap((run) => there.get(run) ?? [])
      if (found.length < wanted.length) return false
      joined.set(id, found)
      waiting.delete(id)
      blobs.set(id, Buffer.concat(found.map(({ bytes }) => bytes)))
      return true
    },
    async held(id) {
      const sizes = held(id).map(({ bytes }) => bytes.length)
      const blocks = sizes.reduce((sum, size) => sum + Math.ceil(size / limits.fileBlockBytes), 0)
      return { blocks, sizeBytes: sizes.reduce((sum, size) => sum + size, 0) }
    },
    async tidy(id) {
      if (joined.has(id)) waiting.delete(id)
    },
    async drop(id) {
      for (const all of [blobs, joined, waiting]) all.delete(id)
    },
  }
}

/** In more than one piece, as they come from storage. */
async function* pieces(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  const size = 64 * 1024
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
}
