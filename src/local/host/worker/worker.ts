import { fork, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { LocalFunction } from '../function-metadata.ts'
import type { TypedData } from '../programming-model.ts'
import type { FromWorker, InvocationInput, ToWorker } from './worker-messages.ts'

/** The process that runs the functions of a host. */
export type Worker = {
  readonly pid: number
  readonly functions: readonly LocalFunction[]
  readonly streamUri: string | undefined
  /** Runs a function once. Throws when the function threw, and when the process ended meanwhile. */
  invoke(
    functionName: string,
    input: InvocationInput & { readonly invocationId?: string | undefined },
  ): Promise<TypedData | undefined>
  /** Resolves when the appTerminate hooks have run. */
  terminate(): Promise<void>
  /** What it holds after a garbage collection, in bytes. */
  measure(): Promise<Measured>
  /** Ends the process at once. */
  end(): Promise<void>
  readonly ended: Promise<void>
}

export type Measured = { readonly pid: number; readonly rss: number; readonly heapUsed: number }

/**
 * Without the first two V8 keeps three times the memory of what is in use before it looks for what is not. On Azure the
 * setting `languageWorkers__node__arguments` takes the same.
 */
const nodeArguments = [
  '--max-semi-space-size=2',
  '--optimize-for-size',
  '--expose-gc',
  '--disable-warning=ExperimentalWarning',
]

/** Azure gives an app 30 s to start; a machine with much to do takes longer. */
const startLimitMs = 60_000

type Waiting = {
  readonly resolve: (value: TypedData | undefined) => void
  readonly reject: (error: Error) => void
}

/** Starts the process and loads the app in it. Throws when the app cannot be loaded. `log` gets a line at a time. */
export async function startWorker(rootDir: string, log: (line: string) => void): Promise<Worker> {
  const child = fork(join(import.meta.dirname, 'worker-process.ts'), [rootDir], {
    execArgv: nodeArguments,
    serialization: 'advanced',
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  // The host takes what an app writes to the console, as the real one does.
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream }).on('line', log)
  }
  const ended = endOf(child)
  const waiting = new Map<string, Waiting>()
  const started = Promise.withResolvers<Extract<FromWorker, { kind: 'started' }>>()
  const terminated = Promise.withResolvers<void>()
  const measuring: PromiseWithResolvers<Measured>[] = []
  // Both sides of the channel are of one version, and nobody else has a hold of it: what comes is what was sent.
  child.on('message', (message: FromWorker) => {
    switch (message.kind) {
      case 'started':
        return started.resolve(message)
      case 'refused':
        return started.reject(new Error(message.reason))
      case 'returned':
        waiting.get(message.invocationId)?.resolve(message.value)
        return waiting.delete(message.invocationId)
      case 'threw':
        waiting.get(message.invocationId)?.reject(new FunctionFailed(message.error))
        return waiting.delete(message.invocationId)
      case 'line':
        return log(message.line)
      case 'terminated':
        return terminated.resolve()
      case 'measured':
        return measuring.shift()?.resolve(message)
    }
  })
  void ended.then(() => {
    started.reject(new Error('the worker ended before it had started'))
    terminated.resolve()
    for (const { reject } of waiting.values()) reject(new FunctionFailed('the worker ended; it comes back'))
    waiting.clear()
    for (const { reject } of measuring.splice(0)) reject(new Error('the worker ended'))
  })
  const limit = setTimeout(() => started.reject(new Error('the worker did not start in time')), startLimitMs)
  const { functions, streamUri } = await started.promise
    .finally(() => clearTimeout(limit))
    .catch(async (error: unknown) => {
      child.kill('SIGKILL')
      await ended
      throw error
    })

  return {
    pid: child.pid ?? 0,
    functions,
    streamUri,
    ended,
    async invoke(functionName, { invocationId = randomUUID(), ...input }) {
      const returned = Promise.withResolvers<TypedData | undefined>()
      if (!ask({ kind: 'invoke', invocationId, functionName, input })) throw new Error('the worker has ended')
      waiting.set(invocationId, returned)
      return returned.promise
    },
    async terminate() {
      if (ask({ kind: 'terminate' })) await terminated.promise
    },
    async measure() {
      const measured = Promise.withResolvers<Measured>()
      if (!ask({ kind: 'measure' })) throw new Error('the worker has ended')
      measuring.push(measured)
      return measured.promise
    },
    async end() {
      child.kill('SIGKILL')
      await ended
    },
  }

  function ask(message: ToWorker): boolean {
    if (!child.connected) return false
    // One that ends just now does not answer, which its end tells.
    child.send(message, () => {})
    return true
  }
}

/** A function threw; the message is what the worker says of it. */
class FunctionFailed extends Error {
  override readonly name = 'FunctionFailed'

  constructor(told: string) {
    super(told)
    // Where it happened is in the other process, and in what that tells.
    this.stack = told
  }
}

async function endOf(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    // It could not even be started: there is no exit then.
    child.on('error', () => {
      if (child.pid === undefined) resolve()
    })
  })
}
