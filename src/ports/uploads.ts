import type { PartsFault } from '../core/upload.ts'
import type { FilePurpose, StoredFile } from './files.ts'

/** A file that comes in parts, each a request of its own, and is a file like any other once it is completed. */
export type Upload = UploadFacts & {
  /** `upload_…`; it holds the time at which it was made, and with it that of its end. */
  readonly id: string
  readonly createdAt: number
  readonly expiresAt: number
  readonly status: UploadStatus
  /** What became of it; null also when that has been deleted since. */
  readonly file: StoredFile | null
}

type UploadStatus = 'pending' | 'completed' | 'cancelled' | 'expired'

export type UploadFacts = {
  /** The API key that it belongs to. */
  readonly owner: string | null
  readonly filename: string
  readonly purpose: Exclude<FilePurpose, 'batch_output'>
  /** Those that its parts are to have together. */
  readonly sizeBytes: number
  /** Of the file, from when it is made. */
  readonly fileExpiresAfterMs: number | null
}

export type UploadPart = { readonly id: string; readonly createdAt: number }

/** Why it takes no part, and cannot be completed or cancelled. `completing`: somebody is at it. */
export type Closed = {
  readonly kind: 'closed'
  readonly why: 'expired' | 'cancelled' | 'completed' | 'completing'
}

/** It has as many parts, or holds as much in storage, as is allowed. */
type UploadFull = { readonly kind: 'full' }

/** Each method but `open` answers undefined when there is no such upload, or no more. */
export type UploadStore = {
  open(facts: UploadFacts): Promise<Upload>
  get(id: string): Promise<Upload | undefined>
  /** Keeps the bytes as they come, at flat memory. They are a part once they are recorded; those that are not go with the upload. */
  stage(part: {
    readonly id: string
    /** What it throws passes up. */
    readonly content: AsyncIterable<Uint8Array>
  }): Promise<StagedPart | Closed | UploadFull | PartTooLarge | undefined>
  /** Makes a file of the parts, in this order. Asked again for the same it answers the same. */
  complete(asked: Completion): Promise<Completed | Closed | Mismatch | undefined>
  /** Its bytes are dropped. One that is cancelled already stays so. */
  cancel(id: string): Promise<Cancelled | Closed | undefined>
  /** Drops what uploads have left whose time is over, up to a bound; answers how many became no file. */
  removeExpired(): Promise<number>
}

export type StagedPart = {
  readonly kind: 'staged'
  readonly sizeBytes: number
  record(): Promise<{ readonly kind: 'added'; readonly part: UploadPart } | Closed | UploadFull | undefined>
}

type PartTooLarge = { readonly kind: 'too-large'; readonly sizeBytesMax: number }

export type Completion = {
  readonly id: string
  readonly partIds: readonly string[]
  /** Of the whole, in hex of small letters. */
  readonly md5: string | null
}

type Completed = { readonly kind: 'completed'; readonly upload: Upload }

export type Cancelled = { readonly kind: 'cancelled'; readonly upload: Upload }

/** The parts are not what was told of them: the upload stays as it was. */
export type Mismatch = PartsFault | { readonly kind: 'wrong-md5'; readonly md5: string }
