import { hash } from 'node:crypto'
import { imageBlobNames, jobId } from '../../src/core/jobs/keys.ts'
import type { CallFacts, ImageStore, PictureBytes } from '../../src/ports/images.ts'
import type { Image } from '../../src/core/jobs/job.ts'

type Answer = Parameters<ImageStore['save']>[0]

type Blob = {
  readonly job: string
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
  const blobs = new Map<string, Blob>()
  const ofJobs = new Map<string, Set<string>>()

  function put(
    { job, facts, images }: Answer,
    { picture, index }: { picture: PictureBytes; index: number },
  ): Image {
    const { bytes, contentType, extension, width, height } = picture
    const id = jobId(job)
    // Names are another's, or this job's own from an earlier attempt.
    const blob = imageBlobNames(job, index, extension).find((name) => (blobs.get(name)?.job ?? id) === id)
    if (blob === undefined) throw new Error("both names of the image are another's")
    const image: Image = {
      blob,
      contentType,
      sizeBytes: bytes.length,
      width,
      height,
      sha256: hash('sha256', bytes),
    }
    blobs.set(blob, { job: id, facts, count: images.length, image, bytes })
    ofJobs.set(id, (ofJobs.get(id) ?? new Set()).add(blob))
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
      const left = [...(ofJobs.get(jobId(job)) ?? [])].map((name) => blobs.get(name)!)
      const newest = left.toSorted((a, b) => b.facts.attempt - a.facts.attempt)[0]
      if (newest === undefined) return undefined
      const { facts, count } = newest
      const ofOneCall = left.filter((blob) => blob.facts.attempt === facts.attempt)
      if (ofOneCall.length !== count) return undefined
      return { facts, images: ofOneCall.map(({ image }) => image).sort((a, b) => (a.blob < b.blob ? -1 : 1)) }
    },

    async open({ blob }) {
      const found = blobs.get(blob)
      return found && piecesOf(found.bytes)
    },

    async read({ blob }) {
      const found = blobs.get(blob)
      return found && { kind: 'bytes', bytes: found.bytes }
    },
  }
}

async function* piecesOf(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 7) yield bytes.slice(at, at + 7)
}
