import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { TokenCredential } from '@azure/identity'
import { fingerprint } from './core/keys.ts'
import { limits } from './core/limits.ts'
import { submissionParser } from './core/submission.ts'
import { azureImageModel } from './model/azure-openai.ts'
import { nothingSeen, type Darkroom } from './pipeline/darkroom.ts'
import type { Clock, Log, LogFacts } from './ports.ts'
import { readSettings, type DeploymentSettings, type Settings } from './settings.ts'
import { azureTable } from './storage/azure-table.ts'
import { budgetTable } from './storage/budget-table.ts'
import { connectStorage, type StorageConnection } from './storage/connection.ts'
import { correctedClock } from './storage/corrected-clock.ts'
import { azureImageStore, imageContainer } from './storage/images.ts'
import { jobTable } from './storage/job-table.ts'
import { azureMessages, queueNames } from './storage/queues.ts'

const stopping = new AbortController()

let opened: Promise<Darkroom> | undefined

/**
 * The one place that reads the environment and builds the adapters; nothing happens before the first call. A start
 * that failed is tried again by the next call.
 */
export async function darkroom(): Promise<Darkroom> {
  opened ??= open(readSettings(process.env)).catch((error: unknown) => {
    opened = undefined
    throw error
  })
  return opened
}

/** From here on this instance starts no call; those under way go on. */
export function stopDarkroom(): void {
  stopping.abort()
}

/** Where Entra ID tokens for the model are asked for. Source: the `openai` package's README. */
const modelScope = 'https://cognitiveservices.azure.com/.default'

async function open(settings: Settings): Promise<Darkroom> {
  const { deployment } = settings
  let identity: Promise<TokenCredential> | undefined
  const credential = async (): Promise<TokenCredential> =>
    (identity ??= defaultCredential(deployment.clientId))
  const clock = correctedClock(machineClock, log)
  const storage = await connectStorage(settings.storage, credential, {
    now: Date.now,
    heard: clock.heard,
  })
  await prepareStorage(storage)
  return {
    clock,
    chance: Math.random,
    newId: randomUUID,
    log,
    jobs: jobTable(azureTable(storage.table(tableNames.jobs)), { chance: Math.random, newId: randomUUID }),
    budgets: budgetTable(azureTable(storage.table(tableNames.budget))),
    messages: azureMessages(storage.queues, clock),
    images: azureImageStore(storage, clock),
    model: azureImageModel(
      {
        endpoint: deployment.endpoint,
        name: deployment.name,
        apiVersion: deployment.apiVersion,
        credential:
          deployment.apiKey === undefined
            ? { token: await tokens(credential) }
            : { apiKey: deployment.apiKey },
        callTimeoutMs: settings.callTimeoutMs,
      },
      clock,
    ),
    parse: submissionParser({ profile: deployment.profile, deployment: deployment.name }),
    pool: {
      // Not the model's name: what waits must outlive the model.
      name: 'default',
      deployments: [
        {
          deployment: deployment.name,
          settingsMark: markOf(deployment),
          rpm: settings.rpm,
          pace: settings.pace,
        },
      ],
    },
    attemptsMax: settings.attemptsMax,
    onUnknown: 'retry',
    jobsAtOnce: limits.jobsAtOnce,
    stopping: stopping.signal,
    seen: nothingSeen(),
  }
}

const tableNames = { jobs: 'jobs', budget: 'budget' } as const

/** What the pipeline writes to must exist; asking again costs one refused request each, once an instance. */
async function prepareStorage(storage: StorageConnection): Promise<void> {
  const { blobs, queues } = storage
  await Promise.all([
    blobs.getContainerClient(imageContainer).createIfNotExists(),
    ...Object.values(queueNames).map(async (name) => queues.getQueueClient(name).createIfNotExists()),
    ...Object.values(tableNames).map(async (name) => storage.table(name).createTable()),
  ])
}

/** Changes with the key and the address, and gives neither away. */
function markOf({ endpoint, name, apiVersion, apiKey }: DeploymentSettings): string {
  return fingerprint(JSON.stringify([endpoint, name, apiVersion, apiKey ?? null])).slice(0, 8)
}

/** Loaded only where identity is used: it is a third of the bundle. */
async function defaultCredential(clientId: string | undefined): Promise<TokenCredential> {
  const { DefaultAzureCredential } = await import('@azure/identity')
  return new DefaultAzureCredential(clientId === undefined ? {} : { managedIdentityClientId: clientId })
}

async function tokens(credential: () => Promise<TokenCredential>): Promise<() => Promise<string>> {
  const { getBearerTokenProvider } = await import('@azure/identity')
  return getBearerTokenProvider(await credential(), modelScope)
}

/** Timers wake a little late, never early; the last stretch before a slot is waited for on its own. */
const machineClock: Clock = {
  now: Date.now,
  async sleepUntil(at, signal) {
    for (let restMs = at - Date.now(); restMs > 0; restMs = at - Date.now()) {
      if (signal?.aborted === true) return
      await wait(Math.min(restMs, longestTimerMs), undefined, signal === undefined ? {} : { signal }).catch(
        (error: unknown) => {
          if (signal?.aborted !== true) throw error
        },
      )
    }
  },
}

/** A timer holds at most 2^31 - 1 ms. */
const longestTimerMs = 2_000_000_000

const log: Log = {
  info: (message, facts) => console.info(line(message, facts)),
  warn: (message, facts) => console.warn(line(message, facts)),
  error: (message, facts) => console.error(line(message, facts)),
}

function line(message: string, facts: LogFacts = {}): string {
  const pairs = Object.entries(facts).map(([name, value]) => `${name}=${JSON.stringify(value ?? null)}`)
  return ['darkroom:', message, ...pairs].join(' ')
}
