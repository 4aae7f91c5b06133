import type { LocalFunction } from '../function-metadata.ts'
import type { TypedData } from '../programming-model.ts'

/** What the host asks of its worker, over the channel between the two processes. */
export type ToWorker =
  | {
      readonly kind: 'invoke'
      readonly invocationId: string
      readonly functionName: string
      readonly input: InvocationInput
    }
  /** Run the appTerminate hooks. */
  | { readonly kind: 'terminate' }
  /** Tell what memory is held after a garbage collection. */
  | { readonly kind: 'measure' }

export type InvocationInput = {
  readonly data: TypedData
  readonly triggerMetadata?: Readonly<Record<string, TypedData>>
}

/** What the worker tells its host. */
export type FromWorker =
  | {
      readonly kind: 'started'
      readonly functions: readonly LocalFunction[]
      /** Where the library serves requests itself; undefined when the app has not turned on `enableHttpStream`. */
      readonly streamUri: string | undefined
    }
  /** The app could not be loaded. */
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'returned'; readonly invocationId: string; readonly value: TypedData | undefined }
  | { readonly kind: 'threw'; readonly invocationId: string; readonly error: string }
  /** A line of a function, or of the worker itself, for the host's log. */
  | { readonly kind: 'line'; readonly line: string }
  | { readonly kind: 'terminated' }
  | { readonly kind: 'measured'; readonly pid: number; readonly rss: number; readonly heapUsed: number }
