export const filePurposes = ['batch', 'vision', 'batch_output'] as const

export type FilePurpose = (typeof filePurposes)[number]

/** A file that somebody sent, or that we made of a batch's results. It never changes. */
export type StoredFile = {
  /** `file-…`; it holds the time at which it was made. */
  readonly id: string
  /** The API key that it belongs to. */
  readonly owner: string | null
  readonly filename: string
  readonly purpose: FilePurpose
  readonly sizeBytes: number
  readonly createdAt: number
  readonly expiresAt: number | null
}

export type FileStore = {
  /** Keeps the content as it comes, at flat memory; `too-large`, and nothing kept, when it passes the bound. */
  save(
    file: FileContent & FileFacts,
  ): Promise<{ readonly kind: 'saved'; readonly file: StoredFile } | { readonly kind: 'too-large' }>
  /** As `save`, for content that comes before what is to be said of it. */
  keep(file: FileContent): Promise<KeptContent | { readonly kind: 'too-large' }>
  /** Undefined also when it has expired. */
  get(id: string): Promise<StoredFile | undefined>
  /** Of one key, or of all where none is named; in the order of time, from behind `after` on. */
  list(query: {
    readonly owner: string | undefined
    readonly purpose?: FilePurpose | undefined
    readonly order: 'asc' | 'desc'
    readonly after?: string | undefined
    readonly limit: number
  }): Promise<{
    readonly files: readonly StoredFile[]
    readonly hasMore: boolean
    /** From where to go on: the last file, or where a long way past files of other purposes was broken off. */
    readonly lastId: string | undefined
  }>
  /** The bytes from `from` up to, and without, `before`; undefined when it is gone. */
  read(id: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array> | undefined>
  /** A link to its bytes for a quarter of an hour, which reads and nothing else; undefined where storage can sign none. */
  link(
    id: string,
    facts: { readonly contentType: string; readonly disposition: string },
  ): Promise<string | undefined>
  remove(id: string): Promise<boolean>
  /** Removes what has expired, up to a bound; answers how many. */
  removeExpired(): Promise<number>
}

/** The bytes from `from` up to, and without, `before`. */
export type ByteRange = { readonly from: number; readonly before: number }

export type FileFacts = {
  readonly owner: string | null
  readonly filename: string
  readonly purpose: FilePurpose
  readonly expiresAfterMs: number | null
}

type FileContent = {
  /** What it throws passes up, and nothing is kept. */
  readonly content: AsyncIterable<Uint8Array>
  readonly sizeBytesMax: number
  /**
   * Ours to choose for a file that may have to be made again (a `timedId`); it then takes the place of the earlier one.
   */
  readonly id?: string | undefined
}

/** Content that is no file yet: `record` makes it one, `discard` takes it away. One that gets neither goes by itself. */
export type KeptContent = {
  readonly kind: 'kept'
  readonly sizeBytes: number
  record(facts: FileFacts): Promise<StoredFile>
  discard(): Promise<void>
}
