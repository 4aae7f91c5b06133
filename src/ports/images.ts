import type { Job, Image, Usage } from '../core/jobs/job.ts'
import type { JobRef } from './jobs.ts'

/** The job that pictures are named after. */
export type ImageOwner = JobRef & Partial<Pick<Job, 'output'>>

/** Pictures in the store of images, under names derived from the job. */
export type ImageStore = {
  /** Writes all pictures of one answer, with the facts of the call beside them. */
  save(answer: {
    readonly job: ImageOwner
    readonly facts: CallFacts
    readonly images: readonly PictureBytes[]
  }): Promise<readonly Image[]>
  /** What a call has left: undefined unless every picture of one answer is there. */
  find(job: ImageOwner): Promise<SavedAnswer | undefined>
  read(image: Image): Promise<ImageContent | undefined>
  /** The image's bytes as they come; undefined when it is gone. */
  open(image: Image): Promise<AsyncIterable<Uint8Array> | undefined>
}

type SavedAnswer = { readonly facts: CallFacts; readonly images: readonly Image[] }

/** A link where storage can sign one, else the bytes. */
type ImageContent =
  { readonly kind: 'link'; readonly url: string } | { readonly kind: 'bytes'; readonly bytes: Uint8Array }

export type CallFacts = {
  readonly attempt: number
  readonly usage: Usage
  readonly requestId: string | undefined
  readonly finishedAt: number
}

/** A picture that was checked to be one. */
export type PictureBytes = {
  readonly bytes: Uint8Array
  readonly contentType: string
  /** With its dot. */
  readonly extension: string
  readonly width: number
  readonly height: number
}
