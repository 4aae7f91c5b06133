import { join } from 'node:path'
import { z } from 'zod'
import { limits } from '../core/limits.ts'
import { readSettings, SettingsError } from '../settings.ts'
import { connectStorage } from '../storage/connection.ts'
import { buildWhenStale } from './built.ts'
import { startHost } from './host/host.ts'
import { formatLine, type LogFormat } from './log-format.ts'
import { superviseHost, type SupervisedHost } from './supervisor.ts'

export const rootDir = join(import.meta.dirname, '../..')

/** Where `npm start` listens, and where Core Tools would. */
const usualPort = 7071

/** Calls cost money: when somebody at a terminal stops a command, they get this long to come to their end. */
const usualGraceSeconds = 30

const commandSettings = z.object({
  PORT: z.coerce.number('a port').int().min(0).max(65_535).default(usualPort),
  SHUTDOWN_GRACE_SECONDS: z.coerce.number('seconds').min(0).max(3_600).default(usualGraceSeconds),
  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: z.coerce.number('bytes').int().min(1).default(limits.hostBodyBytesMax),
  AzureWebJobsDisableHomepage: z.stringbool().default(false),
  LOG_FORMAT: z.enum(['text', 'json']).default('text'),
  MESSAGE_LEASE_SECONDS: z.coerce.number('seconds').min(2).max(3_600).optional(),
})

export type InstanceSettings = {
  readonly port: number
  /** See `startHost`. */
  readonly messageLeaseMs?: number | undefined
  readonly bodyBytesMax?: number
  readonly hasHomepage?: boolean
}

/** What this command goes by, from the environment. */
export function readCommandSettings(): {
  readonly graceMs: number
  readonly logFormat: LogFormat
  readonly instance: InstanceSettings
} {
  const made = Object.keys(commandSettings.shape)
    .map((name) => [name, process.env[name] ?? ''] as const)
    .filter(([, value]) => value !== '')
  const parsed = commandSettings.safeParse(Object.fromEntries(made))
  if (!parsed.success) throw new SettingsError(`this command cannot start:\n${z.prettifyError(parsed.error)}`)
  const { data } = parsed
  const leaseSeconds = data.MESSAGE_LEASE_SECONDS
  return {
    graceMs: 1_000 * data.SHUTDOWN_GRACE_SECONDS,
    logFormat: data.LOG_FORMAT,
    instance: {
      port: data.PORT,
      messageLeaseMs: leaseSeconds === undefined ? undefined : 1_000 * leaseSeconds,
      bodyBytesMax: data.FUNCTIONS_REQUEST_BODY_SIZE_LIMIT,
      hasHomepage: !data.AzureWebJobsDisableHomepage,
    },
  }
}

/**
 * Builds the bundle that Azure would load, and runs it in the local host under the environment's settings. A host that
 * ends itself is started again.
 */
export async function startInstance(
  instance: InstanceSettings,
  log: (line: string) => void,
): Promise<SupervisedHost> {
  // As Core Tools call themselves: whatever else is set, this is not Azure.
  process.env['AZURE_FUNCTIONS_ENVIRONMENT'] = 'Development'
  const settings = readSettings(process.env)
  await buildWhenStale(rootDir)
  const storage = await connectStorage(
    settings.storage,
    async () => {
      const { DefaultAzureCredential } = await import('@azure/identity')
      return new DefaultAzureCredential()
    },
    { triesMax: 1 },
  )
  return superviseHost({
    port: instance.port,
    start: async (port) => startHost({ rootDir, storage, ...instance, port, log }),
  })
}

/** What the functions and the host say, but for what only helps to mend them; readable, or as JSON (LOG_FORMAT). */
export function logToTerminal(format: LogFormat): (line: string) => void {
  const hasColour = process.stdout.isTTY && process.env['NO_COLOR'] === undefined
  return (line) => {
    if (!/^\[(debug|trace)\]/.test(line)) console.log(formatLine(line, format, { hasColour }))
  }
}

/** What whoever runs a command can do something about: told without a stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

/**
 * Runs a command to its end: faults of the settings are a message, not a stack. These commands take no arguments; what
 * they go by are settings.
 */
export async function runCommand(about: string, command: () => Promise<void>): Promise<void> {
  const [argument] = process.argv.slice(2)
  if (argument !== undefined) {
    if (argument !== '--help') console.error(`unknown argument ${argument}`)
    console.log(
      `${about}\n\nIt takes no arguments: README.md lists the settings it goes by, environment first, then local.settings.json.`,
    )
    process.exit(argument === '--help' ? 0 : 1)
  }
  try {
    await command()
  } catch (error) {
    const message =
      error instanceof CommandError || error instanceof SettingsError ? error.message : portTaken(error)
    if (message === undefined) throw error
    console.error(message)
    // What was started beside it, storage for one, would keep the process alive.
    process.exit(1)
  }
}

function portTaken(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || error.code !== 'EADDRINUSE') return undefined
  const port = 'port' in error ? String(error.port) : 'wanted'
  return `darkroom: the port ${port} is taken, perhaps by another npm start; PORT=7072, say, lets the functions listen elsewhere. An Azurite that runs already is then shared: all who use it work on the same queues and jobs.`
}

/** Who asks a command to stop: somebody at a terminal, with Ctrl-C, or a platform, with SIGTERM. */
type StopRequest = 'terminal' | 'platform'

/**
 * Resolves when the process is asked to stop. A second request ends it at once: what runs then is recovered by the
 * next start.
 */
export async function untilStopped(): Promise<StopRequest> {
  return new Promise((resolve) => {
    let isAsked = false
    const asked = (by: StopRequest): void => {
      if (isAsked) process.exit(130)
      isAsked = true
      resolve(by)
    }
    process.on('SIGINT', () => asked('terminal'))
    process.on('SIGTERM', () => asked('platform'))
    if (process.env['npm_lifecycle_event'] !== undefined) onParentGone(() => resolve('platform'))
  })
}

/**
 * npm passes SIGTERM to the shell between it and us, and that shell dies of it without passing it on: all that reaches
 * us is that our parent has changed.
 */
function onParentGone(act: () => void): void {
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    act()
  }, 500)
  watch.unref()
}

/**
 * Stops the host, and says what it had to give up: as a platform does, or as somebody at a terminal would have it, with
 * `graceMs` for the calls under way.
 */
export async function stopInstance(
  host: SupervisedHost,
  by: StopRequest,
  { graceMs }: { readonly graceMs: number },
): Promise<void> {
  console.log(
    by === 'platform'
      ? 'darkroom: stopping as the platform stops a host: requests have 30 s, and then what runs has 10 s (again to stop at once)'
      : `darkroom: stopping; calls under way have up to ${graceMs / 1_000} s to finish (again to stop at once)`,
  )
  const { abandoned } = by === 'platform' ? await host.terminate() : await host.stop({ graceMs })
  if (abandoned > 0) console.log(`darkroom: ${abandoned} run(s) given up; the next start recovers them`)
}
