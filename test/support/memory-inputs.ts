import { hash } from 'node:crypto'
import type { InputStore } from '../../src/ports/inputs.ts'
import { keptPrefix } from '../../src/core/requests/input-ref.ts'

export type MemoryInputs = InputStore & { readonly blobs: Map<string, Uint8Array> }

/** Images to start from, in memory. */
export function memoryInputs(now: () => number = Date.now): MemoryInputs {
  const blobs = new Map<string, Uint8Array>()
  const keptAt = new Map<string, number>()
  return {
    blobs,
    async read(name, bytesMax) {
      const bytes = blobs.get(name)
      return bytes && { bytes: bytes.slice(0, bytesMax), sizeBytes: bytes.length }
    },
    async keep(name, bytes) {
      blobs.set(name, Uint8Array.from(bytes))
      keptAt.set(name, now())
    },
    async *keptBefore(at) {
      for (const name of [...blobs.keys()].sort()) {
        if (name.startsWith(keptPrefix) && (keptAt.get(name) ?? 0) < at) yield name
      }
    },
    async remove(name) {
      blobs.delete(name)
    },
    async fingerprint(bytes) {
      return hash('sha256', bytes).slice(0, 32)
    },
  }
}
