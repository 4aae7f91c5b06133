import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const rootDir = join(import.meta.dirname, '../..')

/** A process of its own, at the head of a process group, so that what it starts can be ended with it. */
export type Child = AsyncDisposable & {
  readonly pid: number
  /** The part of the ready line that `ready` caught. */
  readonly said: string
  /** When it came, in `performance.now()` of this process. */
  readonly readyAt: number
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>
  send(message: string): void
  /** Sends a message and resolves with the next one that comes back. */
  ask(message: string): Promise<unknown>
  /** Lines that tell of trouble: `[warn]`, `[error]` and whatever came on standard error. */
  troubles(): readonly string[]
  /** Asks it to stop, and kills it with all it has started when it does not. */
  stop(): Promise<void>
  /** SIGKILL, to it and all it has started: nobody is asked. */
  kill(): Promise<void>
}

const readyLimitMs = 30_000
const stopLimitMs = 5_000
const troublesMax = 1_000

const running = new Set<Child>()

/** Set for good by `stopAll`: what was about to replace another must not outlive the command. */
let isOver = false

/** Settings of whoever runs the command must not reach its processes: only these pass. */
const passedOn = ['PATH', 'HOME', 'TMPDIR', 'TEMP', 'SystemRoot']

let isVerbose = false

/** Every line of every process goes to standard error from now on. */
export function beVerbose(): void {
  isVerbose = true
}

/** Starts a TypeScript file as a process of its own, and resolves when it has printed the line that `ready` matches. */
export async function startChild(options: {
  readonly path: string
  readonly args?: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly ready: RegExp
}): Promise<Child> {
  const { path, args = [], env, ready } = options
  if (isOver) throw new Error(`${path} was not started: the command is stopping`)
  const inherited = passedOn.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value]]
  })
  const leash = join(import.meta.dirname, 'leash.ts')
  const child = spawn(
    process.execPath,
    ['--expose-gc', '--import', leash, '--disable-warning=ExperimentalWarning', join(rootDir, path), ...args],
    {
      cwd: rootDir,
      env: { ...Object.fromEntries(inherited), ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: hasGroups,
    },
  )
  const lines: string[] = []
  const troubles: string[] = []
  const isReady = Promise.withResolvers<string>()
  const read = (line: string, isError: boolean): void => {
    if (isVerbose) process.stderr.write(`${path} ${child.pid}: ${line}\n`)
    if (troubles.length < troublesMax && (isError || /^\[(warn|error|critical)\]/.test(line)))
      troubles.push(line)
    lines.push(line)
    if (lines.length > 20) lines.shift()
    const said = ready.exec(line)
    if (said !== null) isReady.resolve(said[1] ?? '')
  }
  const { stdout, stderr } = child
  if (stdout !== null) createInterface({ input: stdout }).on('line', (line) => read(line, false))
  if (stderr !== null) createInterface({ input: stderr }).on('line', (line) => read(line, true))
  const ended = once(child, 'exit').then(() => undefined)
  const stop = async (): Promise<void> => {
    running.delete(started)
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGTERM')
    const timer = setTimeout(() => killGroup(child), stopLimitMs)
    await ended
    clearTimeout(timer)
  }
  const kill = async (): Promise<void> => {
    running.delete(started)
    if (child.exitCode !== null || child.signalCode !== null) return
    killGroup(child)
    await ended
  }
  let said = ''
  let readyAt = 0
  const started: Child = {
    pid: child.pid ?? 0,
    get said() {
      return said
    },
    get readyAt() {
      return readyAt
    },
    ended,
    send: (message) => void child.send(message),
    ask: async (message) => {
      const answer = once(child, 'message')
      child.send(message)
      const [received]: unknown[] = await answer
      return received
    },
    troubles: () => troubles,
    stop,
    kill,
    [Symbol.asyncDispose]: stop,
  }
  running.add(started)
  const timer = setTimeout(() => isReady.reject(new Error('it was not ready in time')), readyLimitMs)
  try {
    said = await Promise.race([
      isReady.promise,
      ended.then(() => {
        throw new Error(`it ended with ${child.exitCode ?? child.signalCode}`)
      }),
    ])
    readyAt = performance.now()
  } catch (cause) {
    await stop()
    throw new Error(`${path} did not start: ${String(cause)}\n${lines.join('\n')}`, { cause })
  } finally {
    clearTimeout(timer)
  }
  return started
}

/** Windows has no process groups to send a signal to: there a process is killed alone. */
const hasGroups = process.platform !== 'win32'

function killGroup(child: ChildProcess): void {
  if (hasGroups && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  else child.kill('SIGKILL')
}

/** Ends all that is still running, by its own process ids, and starts nothing more. */
export async function stopAll(): Promise<void> {
  isOver = true
  await Promise.all([...running].map(async (child) => child.stop()))
}
