import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'

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
  hasEnded(): boolean
  send(message: string): void
  /** Sends a message and resolves with the next one that comes back. Throws when none does in time. */
  ask(message: string, limitMs?: number): Promise<unknown>
  /** Lines that tell of trouble: events of the levels warn and error, and whatever came on standard error. */
  troubles(): readonly string[]
  /** Asks it to stop, as Ctrl-C does, and kills it with all it has started when it does not. */
  stop(): Promise<void>
  /** SIGKILL, to it and all it has started: nobody is asked. */
  kill(): Promise<void>
}

export type Command = {
  readonly path: string
  readonly args?: readonly string[]
  /** Options of Node itself. */
  readonly nodeArgs?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly ready: RegExp
  /** It does not wait until others have started. */
  readonly isUrgent?: boolean
}

/** Processes that start at once: with more of them each takes too long to be ready. */
const startsAtOnce = 4

const readyLimitMs = 60_000
const stopLimitMs = 5_000
const askLimitMs = 10_000
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
export async function startChild(command: Command): Promise<Child> {
  if (command.isUrgent === true) return startNow(command)
  while (starting.size >= startsAtOnce) await Promise.race(starting)
  const started = startNow(command)
  const settled = started.then(
    () => void starting.delete(settled),
    () => void starting.delete(settled),
  )
  starting.add(settled)
  return started
}

const starting = new Set<Promise<void>>()

async function startNow(command: Command): Promise<Child> {
  const { path, ready } = command
  if (isOver) throw new Error(`${path} was not started: the command is stopping`)
  const child = spawned(command)
  const lines: string[] = []
  const troubles: string[] = []
  const isReady = Promise.withResolvers<string>()
  const read = (line: string, isError: boolean): void => {
    if (isVerbose) process.stderr.write(`${path} ${child.pid}: ${line}\n`)
    if (troubles.length < troublesMax && (isError || /"level":"(warn|error|critical)"/.test(line)))
      troubles.push(line)
    lines.push(line)
    if (lines.length > 20) lines.shift()
    const said = ready.exec(line)
    if (said !== null) isReady.resolve(said[1] ?? '')
  }
  const { stdout, stderr } = child
  if (stdout !== null) createInterface({ input: stdout }).on('line', (line) => read(line, false))
  if (stderr !== null) createInterface({ input: stderr }).on('line', (line) => read(line, true))
  // A message to a process that has just died ends here; that it died is seen by its exit.
  child.on('error', (error) => read(`${error}`, true))
  const hasEnded = (): boolean =>
    child.pid === undefined || child.exitCode !== null || child.signalCode !== null
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    // It could not even be started: there is no exit then.
    child.once('error', () => child.pid === undefined && resolve())
  }).then(() => void running.delete(started))
  const stop = async (): Promise<void> => {
    if (hasEnded()) return
    child.kill('SIGINT')
    const timer = setTimeout(() => killGroup(child), stopLimitMs)
    await ended
    clearTimeout(timer)
  }
  const kill = async (): Promise<void> => {
    if (hasEnded()) return
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
    hasEnded,
    send: (message) => void (child.connected && child.send(message)),
    ask: async (message, limitMs = askLimitMs) => answerOf(child, message, limitMs),
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
    await started.stop()
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

function spawned({ path, args = [], nodeArgs = [], env = {} }: Command): ChildProcess {
  const inherited = passedOn.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value]]
  })
  const leash = join(import.meta.dirname, 'leash.ts')
  return spawn(
    process.execPath,
    [
      '--expose-gc',
      '--disable-warning=ExperimentalWarning',
      ...nodeArgs,
      '--import',
      leash,
      join(rootDir, path),
      ...args,
    ],
    {
      cwd: rootDir,
      env: { ...Object.fromEntries(inherited), ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: hasGroups,
    },
  )
}

async function answerOf(child: ChildProcess, message: string, limitMs: number): Promise<unknown> {
  const answer = once(child, 'message', { signal: AbortSignal.timeout(limitMs) })
  child.send(message)
  const [received]: unknown[] = await answer
  return received
}

/** Ends all that is still running, by its own process ids, and lets nothing new start. */
export async function stopAll(): Promise<void> {
  isOver = true
  for (let tries = 0; running.size > 0 && tries < 3; tries += 1) {
    await Promise.all([...running].map(async (child) => child.stop()))
    await pause(10)
  }
}
