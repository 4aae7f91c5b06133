import { hash } from 'node:crypto'
import type { InputStore } from '../../src/ports.ts'

export type MemoryInputs = InputStore & { readonly blobs: Map<string, Uint8Array> }

/** Images to start from, in memory. */
export function memoryInputs(): MemoryInputs {
  const blobs = new Map<string, Uint8Array>()
  return {
    blobs,
    async read(name, bytesMax) {
      const bytes = blobs.get(name)
      return bytes && { bytes: bytes.slice(0, bytesMax), sizeBytes: bytes.length }
    },
    async keep(name, bytes) {
      blobs.set(name, Uint8Array.from(bytes))
    },
    async fingerprint(bytes) {
      return hash('sha256', bytes).slice(0, 32)
    },
  }
}
