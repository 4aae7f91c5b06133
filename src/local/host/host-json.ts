import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'

/** What the local host obeys of host.json; it passes over the rest. */
export type HostSettings = {
  /** A function that runs longer takes its worker with it. */
  readonly functionTimeoutMs: number
  /** Without slashes at either end; empty when routes start at the root. */
  readonly routePrefix: string
  readonly queues: QueueSettings
}

export type QueueSettings = {
  readonly batchSize: number
  readonly newBatchThreshold: number
  readonly maxPollingIntervalMs: number
  /** How long a message whose run failed stays invisible. */
  readonly visibilityTimeoutMs: number
  readonly maxDequeueCount: number
  readonly messageEncoding: 'base64' | 'none'
}

/**
 * Reads `host.json` in `rootDir`. Defaults and limits are those of the real host (learn: functions-host-json, and
 * QueuesOptions of the queue extension). Throws an error that names every fault, because the real host would not start
 * with them either.
 */
export async function readHostJson(rootDir: string): Promise<HostSettings> {
  const path = join(rootDir, 'host.json')
  let content: unknown
  try {
    content = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new Error(`${path} cannot be read: ${String(cause)}`, { cause })
  }
  const parsed = hostJson.safeParse(content, { reportInput: true })
  if (parsed.success) return parsed.data
  const faults = parsed.error.issues.map(
    ({ path, input, message }) => `${path.join('.')}: got ${JSON.stringify(input)}. ${message}`,
  )
  throw new Error(`${path} has faults:\n${faults.join('\n')}`)
}

/** A .NET TimeSpan, `[d.]hh:mm:ss[.fraction]`, as milliseconds. */
const timeSpanMs = z
  .string()
  .regex(/^(\d+\.)?\d{1,2}:\d{2}:\d{2}(\.\d+)?$/, 'Wanted a time span such as "00:00:10"')
  .transform((text) => {
    const [, days = '0', hours, minutes, seconds] = /^(?:(\d+)\.)?(\d+):(\d+):(.+)$/.exec(text) ?? []
    const wholeMinutes = (Number(days) * 24 + Number(hours)) * 60 + Number(minutes)
    return Math.round(wholeMinutes * 60_000 + Number(seconds) * 1000)
  })

const queueSettings = z
  .looseObject({
    batchSize: z.int().min(1).max(32).default(16),
    newBatchThreshold: z.int().min(0).optional(),
    maxPollingInterval: timeSpanMs.prefault('00:01:00').refine((ms) => ms >= 100, 'Wanted at least 100 ms'),
    visibilityTimeout: timeSpanMs.prefault('00:00:00'),
    maxDequeueCount: z.int().min(1).default(5),
    messageEncoding: z
      .string()
      .toLowerCase()
      .pipe(z.enum(['base64', 'none']))
      .default('base64'),
  })
  .transform((queues) => ({
    batchSize: queues.batchSize,
    newBatchThreshold: queues.newBatchThreshold ?? Math.floor(queues.batchSize / 2) * availableParallelism(),
    maxPollingIntervalMs: queues.maxPollingInterval,
    visibilityTimeoutMs: queues.visibilityTimeout,
    maxDequeueCount: queues.maxDequeueCount,
    messageEncoding: queues.messageEncoding,
  }))

const hostJson = z
  .looseObject({
    version: z.literal('2.0'),
    // The default of Flex Consumption.
    functionTimeout: timeSpanMs.prefault('00:30:00'),
    extensions: z
      .looseObject({
        http: z.looseObject({ routePrefix: z.string().default('api') }).prefault({}),
        queues: queueSettings.prefault({}),
      })
      .prefault({}),
  })
  .transform(({ functionTimeout, extensions }) => ({
    functionTimeoutMs: functionTimeout,
    routePrefix: extensions.http.routePrefix.replace(/^\/+|\/+$/g, ''),
    queues: extensions.queues,
  }))
