import { z } from 'zod'
import { startChild, type Child } from './child.ts'
import type { ReceivedRequest } from './deployment/log.ts'
import { defaultSettings } from './deployment/settings.ts'

/** The parts of a whole Darkroom, each as a process of its own: for what measures them, or kills them. */

const { apiKey, deployment: deploymentName, apiVersions } = defaultSettings

/** Azurite with its data in memory; what it said is its connection string. */
export async function startStorageProcess(): Promise<Child> {
  return startChild({ path: 'src/local/azurite/azurite-command.ts', env: {}, ready: /^azurite: ready (.*)$/ })
}

type DeploymentProcess = {
  readonly child: Child
  readonly endpoint: string
  log(): Promise<readonly ReceivedRequest[]>
}

/** A simulated deployment whose pictures cost nothing. `latencyMs` and `faults` are written as its command reads them. */
export async function startDeploymentProcess(options: {
  readonly rpm: number
  readonly latencyMs: string
  readonly faults?: string
  readonly seed?: number
}): Promise<DeploymentProcess> {
  const { rpm, latencyMs, faults = '', seed = defaultSettings.seed } = options
  const child = await startChild({
    path: 'src/local/deployment-command.ts',
    env: {
      DEPLOYMENT_RPM: String(rpm),
      DEPLOYMENT_LATENCY_MS: latencyMs,
      DEPLOYMENT_FAULTS: faults,
      DEPLOYMENT_SEED: String(seed),
      DEPLOYMENT_PICTURES: 'plain',
    },
    ready: /ready on (\S+)$/,
  })
  return {
    child,
    endpoint: child.said,
    log: async () => {
      const response = await fetch(`${child.said}/__log`)
      if (!response.ok) throw new Error(`the deployment's log answered ${response.status}`)
      return logSchema.parse(await response.json())
    },
  }
}

/** As `npm run host` has them; the process that runs the functions has its own. */
const hostNodeArgs = ['--max-semi-space-size=2', '--optimize-for-size'] as const

/** One host; what it said is its address. */
export async function startHostProcess(options: {
  readonly connectionString: string
  /** Of the simulated deployment. */
  readonly endpoint: string
  readonly rpm: number
  readonly messageLeaseSeconds?: number
  readonly isUrgent?: boolean
}): Promise<Child> {
  const { connectionString, endpoint, rpm, messageLeaseSeconds, isUrgent = false } = options
  return startChild({
    path: 'src/local/host-command.ts',
    nodeArgs: hostNodeArgs,
    isUrgent,
    // Each is set, so that none comes from the local.settings.json of whoever runs this.
    env: {
      AzureWebJobsStorage: connectionString,
      AZURE_OPENAI_TARGET_URI: `${endpoint}/openai/deployments/${deploymentName}/images/generations?api-version=${apiVersions[0]}`,
      AZURE_OPENAI_API_KEY: apiKey,
      IMAGE_MODEL: deploymentName,
      IMAGE_RPM: String(rpm),
      PACE: '0.98',
      CALL_TIMEOUT_SECONDS: '540',
      MAX_ATTEMPTS: '5',
      PORT: '0',
      LOG_FORMAT: 'json',
      // glibc keeps what many threads have freed; two arenas keep less, and give back sooner.
      MALLOC_ARENA_MAX: '2',
      MALLOC_TRIM_THRESHOLD_: '131072',
      SHUTDOWN_GRACE_SECONDS: '1',
      ...(messageLeaseSeconds === undefined ? {} : { MESSAGE_LEASE_SECONDS: String(messageLeaseSeconds) }),
    },
    ready: /^darkroom: ready on (\S+)$/,
  })
}

/** What the process that runs the functions of a host holds after a garbage collection, in bytes. */
export async function measureWorker(
  host: Child,
  limitMs?: number,
): Promise<{ readonly pid: number; readonly rss: number; readonly heapUsed: number }> {
  return measuredSchema.parse(await host.ask('worker', limitMs))
}

const measuredSchema = z.object({ pid: z.number(), rss: z.number(), heapUsed: z.number() })

const logSchema = z.array(
  z.object({
    receivedAt: z.number(),
    answeredAt: z.number().nullable(),
    deployment: z.string().nullable(),
    status: z.union([z.number(), z.literal('dropped'), z.literal('pending')]),
    code: z.string().nullable(),
    prompt: z.string().nullable(),
    outcome: z.string(),
    billed: z.boolean(),
    requestId: z.string(),
    images: z.number(),
    sha256: z.array(z.string()),
    inputSha256: z.array(z.string()),
    totalTokens: z.number(),
  }),
) satisfies z.ZodType<readonly ReceivedRequest[]>
