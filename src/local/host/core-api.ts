import { readFunction } from './function-metadata.ts'
import type { FunctionCallback, RegisteredFunction } from './function-metadata.ts'
import { levelPrefix, type LogEntry, type LogLevel } from './log-entry.ts'
import type { ProgrammingModel } from './programming-model.ts'

type HookName = (typeof hookNames)[number]

/** A function app as its entry file fills it, through the virtual module `@azure/functions-core`. */
export type FunctionApp = {
  /** What `require('@azure/functions-core')` gives inside the host. */
  readonly coreApi: object
  readonly functions: ReadonlyMap<string, RegisteredFunction>
  /** Shared by all hooks of the app. */
  readonly appHookData: Record<string, unknown>
  /** The library's model; throws when no function file has loaded the library. */
  model(): ProgrammingModel
  /** Ends the time in which functions may be registered. */
  seal(): void
  /** Runs the hooks of this name one after another, in the order in which they were registered. */
  runHooks(name: HookName, context: object): Promise<void>
  /** Logs a line for a function, or for the host itself when `source` is `host`; log hooks see it first. */
  log(entry: LogEntry): void
}

type HookCallback = (context: object) => unknown

const hookNames = ['appStart', 'appTerminate', 'preInvocation', 'postInvocation', 'log'] as const

/** Makes an empty function app. `log` gets one line at a time. Model: the Node worker's side of `functions-core`. */
export function createFunctionApp(log: (line: string) => void): FunctionApp {
  const functions = new Map<string, RegisteredFunction>()
  const hooks = new Map<string, Set<HookCallback>>(hookNames.map((name) => [name, new Set()]))
  const appHookData: Record<string, unknown> = {}
  let model: ProgrammingModel | undefined
  let sealed = false

  function registerFunction(metadata: unknown, callback: FunctionCallback): Disposable {
    const read = readFunction(metadata, callback)
    if (sealed)
      throw new Error(`function "${read.name}" came too late: register functions while the app loads`)
    if (functions.has(read.name)) throw new Error(`two functions are named "${read.name}"`)
    functions.set(read.name, read)
    return new Disposable(() => functions.delete(read.name))
  }

  function registerHook(name: string, callback: HookCallback): Disposable {
    const callbacks = hooks.get(name)
    if (callbacks === undefined)
      throw new RangeError(`got the hook "${name}", wanted one of ${hookNames.join(', ')}`)
    callbacks.add(callback)
    return new Disposable(() => callbacks.delete(callback))
  }

  async function runHooks(name: HookName, context: object): Promise<void> {
    for (const callback of hooks.get(name) ?? []) await callback(context)
  }

  function logEntry(entry: LogEntry): void {
    const seen = { ...entry, hookData: {}, appHookData }
    try {
      for (const callback of hooks.get('log') ?? []) callback(seen)
    } catch (error) {
      writeLines(log, 'warning', entry.source, `a log hook threw: ${String(error)}`)
    }
    // Hooks may change what the app says, never what the host says.
    const { level, message } = entry.category === 'user' ? seen : entry
    writeLines(log, level, entry.source, message)
  }

  const coreApi = {
    // The Node worker and the host whose contract this is, as recorded.
    version: '3.9.1',
    hostVersion: '4.1037.0',
    registerFunction,
    registerHook,
    setProgrammingModel: (next: ProgrammingModel) => {
      model = next
    },
    getProgrammingModel: () => model,
    log: (level: LogLevel, category: LogEntry['category'], message: string) =>
      logEntry({ source: 'host', level, category, message }),
    Disposable,
  }

  return {
    coreApi,
    functions,
    appHookData,
    model: () => {
      if (model === undefined) throw new Error('no function file has loaded @azure/functions')
      return model
    },
    seal: () => {
      sealed = true
    },
    runHooks,
    log: logEntry,
  }
}

function writeLines(log: (line: string) => void, level: LogLevel, source: string, message: string): void {
  for (const line of message.split('\n')) log(`${levelPrefix[level]} ${source}: ${line}`)
}

/** What registering gives back; `dispose` undoes it, once. */
class Disposable {
  #undo: (() => unknown) | undefined

  constructor(undo: () => unknown) {
    this.#undo = undo
  }

  static from(...parts: readonly { dispose(): unknown }[]): Disposable {
    return new Disposable(() => {
      for (const part of parts) part.dispose()
    })
  }

  dispose(): void {
    this.#undo?.()
    this.#undo = undefined
  }
}
