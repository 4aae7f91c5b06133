/**
 * The library's half of an invocation, as the worker calls it: the three steps, one after the other. Source: the
 * `types-core` of the Node worker's repository.
 */
export type InvocationModel = {
  getArguments(): Promise<object>
  invokeFunction(context: unknown, inputs: unknown, callback: unknown): Promise<unknown>
  getResponse(context: unknown, result: unknown): Promise<object>
}

export type InvocationContext = {
  readonly invocationId: string
  readonly metadata: {
    readonly name?: string
    readonly bindings?: Readonly<Record<string, { readonly type?: string }>>
  }
  log(level: 'error' | 'warning' | 'information', category: 'user', message: string): void
}
