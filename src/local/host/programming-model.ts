import type { LogEntry, LogLevel } from './log-entry.ts'
import type { FunctionCallback, FunctionMetadata } from './function-metadata.ts'

/**
 * What @azure/functions 4.16 hands to the host with `setProgrammingModel`: the library's half of every invocation.
 * Source: the `types-core` of the library's repository.
 */
export type ProgrammingModel = {
  getCapabilities(hostCapabilities: Record<string, string>): Promise<Record<string, string>>
  getInvocationModel(context: CoreInvocationContext): InvocationModel
}

export type InvocationModel = {
  getArguments(): Promise<{ context: unknown; inputs: unknown[] }>
  invokeFunction(context: unknown, inputs: unknown[], callback: FunctionCallback): Promise<unknown>
  getResponse(context: unknown, result: unknown): Promise<InvocationResponse>
}

export type CoreInvocationContext = {
  readonly invocationId: string
  readonly request: InvocationRequest
  readonly metadata: FunctionMetadata
  /** Where the invocation is; the library warns of a log call that comes after its end. */
  state: 'preInvocationHooks' | 'invocation' | 'postInvocationHooks' | undefined
  log(level: LogLevel, category: LogEntry['category'], message: string): void
}

type InvocationRequest = {
  readonly invocationId: string
  readonly functionId: string
  readonly inputData: readonly { readonly name: string; readonly data: TypedData }[]
  readonly triggerMetadata: Readonly<Record<string, TypedData>>
}

type InvocationResponse = { readonly returnValue?: TypedData | null | undefined }

/** One value on its way between host and library; a `string` is tried as JSON by the library. */
export type TypedData = {
  readonly string?: string
  readonly json?: string
  readonly bytes?: Uint8Array
  readonly http?: HttpData
}

export type HttpData = {
  readonly method?: string
  readonly url?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string>>
  readonly params?: Readonly<Record<string, string>>
  readonly body?: TypedData | null | undefined
  readonly statusCode?: string
  readonly cookies?: readonly HttpCookie[]
}

export type HttpCookie = {
  readonly name: string
  readonly value: string
  readonly domain?: Nullable<string>
  readonly path?: Nullable<string>
  /** Unix seconds. */
  readonly expires?: Nullable<{ readonly seconds: number }>
  readonly secure?: Nullable<boolean>
  readonly httpOnly?: Nullable<boolean>
  readonly maxAge?: Nullable<number>
  readonly sameSite?: 'none' | 'lax' | 'strict' | 'explicitNone'
}

type Nullable<Value> = { readonly value?: Value } | undefined
