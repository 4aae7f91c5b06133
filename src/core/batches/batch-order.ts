import type { OnUnknown } from '../jobs/failure.ts'
import type { Endpoint } from '../requests/endpoints.ts'

/** What a batch was submitted with, by file; it never changes. */
export type BatchOrder = {
  readonly inputFileId: string
  /** The key whose files its lines may name; null: all. */
  readonly filesOf: string | null
  readonly endpoint: Endpoint
  /** As it was given, `24h` for instance; a target, not a deadline. */
  readonly completionWindow: string
  readonly name: string | null
  readonly metadata: Readonly<Record<string, string>> | null
  /** Of its result files, after they are made. */
  readonly outputExpiresAfterMs: number | null
  /** Null: as the settings have it. */
  readonly onUnknown: OnUnknown | null
  /** What the names of its images start with; null: the batch's id and a slash. */
  readonly outputPrefix: string | null
  readonly webhook: Webhook | null
  /** Scheme and host under which it was submitted: the addresses in its results begin so. */
  readonly origin: string
}

/** Where to tell of the batch's end, and of each of its jobs if asked. */
export type Webhook = { readonly url: string; readonly perJob: boolean }
