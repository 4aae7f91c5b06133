import { hash } from 'node:crypto'
import { imageBlobName } from '../../src/core/keys.ts'
import type { CallFacts, ImageStore, JobRef, PictureBytes } from '../../src/ports.ts'
import type { Image } from '../../src/core/job.ts'

type Answer = Parameters<ImageStore['save']>[0]

type Blob = {
  readonly facts: CallFacts
  readonly count: number
  readonly image: Image
  readonly bytes: Uint8Array
}

export type MemoryImages = ImageStore & {
  /** Writes only the first of an answer's pictures, as an instance does that dies between two. */
  savePart(answer: Answer, count: number): void
}

/** Pictures in memory, each with the facts of its call. */
export function memoryImages(): MemoryImages {
  const blobsOfJobs = new Map<string, Map<string, Blob>>()

  function put(
    { job, facts, images }: Answer,
    { picture, index }: { picture: PictureBytes; index: number },
  ): Image {
    const { bytes, contentType, extension, width, height } = picture
    const image: Image = {
      blob: imageBlobName(job, index, extension),
      contentType,
      sizeBytes: bytes.length,
      width,
      height,
      sha256: hash('sha256', bytes),
    }
    const blobs = blobsOfJobs.get(nameOf(job)) ?? new Map<string, Blob>()
    blobsOfJobs.set(nameOf(job), blobs)
    blobs.set(image.blob, { facts, count: images.length, image, bytes })
    return image
  }

  return {
    async save(answer) {
      return answer.images.map((picture, index) => put(answer, { picture, index }))
    },

    savePart(answer, count) {
      for (const [index, picture] of answer.images.slice(0, count).entries()) put(answer, { picture, index })
    },

    async find(job) {
      const blobs = [...(blobsOfJobs.get(nameOf(job))?.values() ?? [])]
      const newest = blobs.toSorted((a, b) => b.facts.attempt - a.facts.attempt)[0]
      if (newest === undefined) return undefined
      const { facts, count } = newest
      const ofOneCall = blobs.filter((blob) => blob.facts.attempt === facts.attempt)
      if (ofOneCall.length !== count) return undefined
      return { facts, images: ofOneCall.map(({ image }) => image).sort((a, b) => (a.blob < b.blob ? -1 : 1)) }
    },

    async open({ blob }) {
      for (const blobs of blobsOfJobs.values()) {
        const found = blobs.get(blob)
        if (found !== undefined) return piecesOf(found.bytes)
      }
      return undefined
    },

    async read({ blob }) {
      for (const blobs of blobsOfJobs.values()) {
        const found = blobs.get(blob)
        if (found !== undefined) return { kind: 'bytes', bytes: found.bytes }
      }
      return undefined
    },
  }
}

async function* piecesOf(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 7) yield bytes.slice(at, at + 7)
}

function nameOf({ batch, key }: JobRef): string {
  return `${batch}/${key}`
}
