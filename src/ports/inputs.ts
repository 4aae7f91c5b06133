import type { PictureFormat } from '../core/requests/input-picture.ts'

/** An image to start from, checked to be one. */
export type InputImage = { readonly bytes: Uint8Array; readonly format: PictureFormat }

/** Images that edits start from, as blobs: what users put there themselves, and what came inside their jobs. */
export type InputStore = {
  /** The first bytes of a blob, and the size of all of it; undefined when there is none of that name. */
  read(
    name: string,
    bytesMax: number,
  ): Promise<{ readonly bytes: Uint8Array; readonly sizeBytes: number } | undefined>
  /** One of that name is replaced. */
  keep(name: string, bytes: Uint8Array): Promise<void>
  /** Names of images that were kept for jobs before a time. */
  keptBefore(at: number): AsyncIterable<string>
  remove(name: string): Promise<void>
  /** 128 bits in hex that tell the bytes from all others; made beside the event loop, which has slots to keep. */
  fingerprint(bytes: Uint8Array): Promise<string>
}
