import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { TokenCredential } from '@azure/identity'
import { actualMicroUsd, expected, leastMicroUsd, upperBoundMicroUsd } from './core/costs/cost.ts'
import { shareOf } from './core/budget/fairness.ts'
import { inputContainer, inputCount } from './core/requests/input-ref.ts'
import { fingerprint } from './core/fingerprint.ts'
import { limits } from './core/limits.ts'
import { timing } from './core/timing.ts'
import { pricesOf, type ModelPrices } from './core/costs/prices.ts'
import type { ModelProfile } from './core/requests/profiles.ts'
import type { PoolRules } from './core/requests/submission.ts'
import { poolOfModel, submissionParser } from './core/requests/submission-parser.ts'
import { azureImageModel, loadModelPackages } from './model/azure-openai.ts'
import { decodeBase64 } from './model/base64.ts'
import { modelByDeployment } from './model/by-deployment.ts'
import { webhookSender } from './outbound/webhook-sender.ts'
import { guardedFetch } from './outbound/guarded-fetch.ts'
import { newCaches } from './pipeline/caches.ts'
import { newCapacity } from './pipeline/capacity.ts'
import { tickWatches } from './pipeline/tick-watch.ts'
import { type Costs, type Context, type PoolSettings as Pool } from './pipeline/context.ts'
import { eventLog, type EventLog } from './log/event-log.ts'
import { writeLine } from './log/invocation.ts'
import type { Clock } from './ports/clock.ts'
import type { ImageModel } from './ports/model.ts'
import {
  readSettings,
  SettingsError,
  type DeploymentSettings,
  type PoolSettings,
  type Settings,
} from './settings.ts'
import { azureTable } from './storage/tables/azure-table.ts'
import { batchList } from './storage/tables/batch-list.ts'
import { batchTable } from './storage/tables/batch-table.ts'
import { budgetTable } from './storage/tables/budget-table.ts'
import { blobLinks } from './storage/blobs/blob-links.ts'
import { connectStorage, type StorageConnection } from './storage/connection.ts'
import { correctedClock } from './storage/corrected-clock.ts'
import { azureFileContents, fileContainer } from './storage/blobs/file-contents.ts'
import { fileStore } from './storage/blobs/files.ts'
import { azureImageStore, imageContainer } from './storage/blobs/images.ts'
import { azureInputStore } from './storage/blobs/inputs.ts'
import { jobTable } from './storage/tables/job-table.ts'
import { azureMessages, queueNames } from './storage/queues.ts'
import { uploadStore } from './storage/blobs/uploads.ts'

const stopping = new AbortController()

let settings: Settings | undefined
let opened: Promise<Context> | undefined

/**
 * The one place that reads the environment and builds the adapters; nothing happens before the first call. A start that
 * failed, or comes to nothing in time because storage is silent, is made anew by the next call.
 */
export async function openContext(): Promise<Context> {
  opened ??= inTime(open(settingsNow())).catch((error: unknown) => {
    opened = undefined
    throw error
  })
  return opened
}

async function inTime(opening: Promise<Context>): Promise<Context> {
  const late = Promise.withResolvers<never>()
  const silence = Object.assign(new Error('storage did not answer in time'), { code: 'NO_ANSWER' })
  const waiting = setTimeout(() => late.reject(silence), timing.openMs)
  return Promise.race([opening, late.promise]).finally(() => clearTimeout(waiting))
}

/** The same, for who holds for a slot: what a call needs is loaded here, because at the slot it would come late. */
export async function openContextForCalls(): Promise<Context> {
  const [context] = await Promise.all([openContext(), loadModelPackages()])
  return context
}

/** The machine's clock: for what needs no slot, and no storage to correct it by. */
export const machineNow = (): number => Date.now()

/** Faults are told to the operator each time that somebody needs what they keep from being used. */
export function settingsNow(): Settings {
  try {
    return (settings ??= readSettings(process.env))
  } catch (error) {
    if (error instanceof SettingsError) log.event('settings_faulty', { text: error.message })
    throw error
  }
}

/** From here on this instance starts no call; those under way go on. */
export function stopInstance(): void {
  stopping.abort()
  log.flush()
}

/** Where Entra ID tokens for the model are asked for. Source: the `openai` package's README. */
const modelScope = 'https://cognitiveservices.azure.com/.default'

async function open(settings: Settings): Promise<Context> {
  const deployments = deploymentsOf(settings)
  // They all have the same: that of storage.
  const clientId = deployments[0]?.clientId
  let identity: Promise<TokenCredential> | undefined
  const credential = async (): Promise<TokenCredential> => (identity ??= defaultCredential(clientId))
  const clock = correctedClock(machineClock, log)
  const storage = await connectStorage(settings.storage, credential, {
    listener: { now: Date.now, heard: clock.heard },
  })
  await prepareStorage(storage)
  const files = {
    table: azureTable(storage.table(tableNames.files)),
    contents: azureFileContents(storage.blobs, blobLinks(storage, clock)),
    clock,
    newId: randomUUID,
  }
  const jobRows = azureTable(storage.table(tableNames.jobs))
  const rules = { pools: settings.pools.map(rulesOf), inputHosts: settings.inputHosts, decodeBase64 }
  return {
    clock,
    chance: Math.random,
    instance: randomUUID(),
    newId: randomUUID,
    log,
    jobs: jobTable(jobRows, { chance: Math.random, newId: randomUUID, clock }),
    batches: batchTable(jobRows),
    batchList: batchList(azureTable(storage.table(tableNames.batches))),
    budgets: budgetTable(azureTable(storage.table(tableNames.budget))),
    messages: azureMessages(storage.queues, clock),
    images: azureImageStore(storage, clock),
    files: fileStore(files),
    uploads: uploadStore(files),
    inputs: azureInputStore(storage),
    fetchInput: guardedFetch({ hosts: settings.inputHosts, trusted: [] }).ask,
    model: await modelOf(deployments, settings.callTimeoutMs, { credential, clock }),
    webhooks: webhookSender(settings.webhooks, clock),
    parse: submissionParser(rules),
    poolOfModel: (model) => poolOfModel(rules, model),
    inputFormatsOf: (pool) => rules.pools.find((each) => each.pool === pool)?.profile.inputFormats ?? [],
    pools: poolsOf(settings),
    attemptsMax: settings.attemptsMax,
    onUnknown: 'retry',
    refusalShareMax: settings.refusalShareMax,
    shareOf: (batch) => shareOf(settings.batchShares, batch),
    isTenant: (owner) => settings.apiKeys.some(({ name, isAdmin }) => name === owner && !isAdmin),
    ownerWeight: (owner) => settings.apiKeys.find(({ name }) => name === owner)?.weight ?? 1,
    capacity: newCapacity(limits.jobsAtOnce),
    ticksOf: tickWatches(),
    stopping: stopping.signal,
    caches: newCaches(),
    ledgerChanges: new Map(),
  }
}

/** The pools as the pipeline knows them: what their budgets may start, and what calls cost; no key, no address. */
export function poolsOf({ pools, pace, prices }: Settings): readonly Pool[] {
  return pools.map(({ name, profile, quotas }) => ({
    name,
    quotas: quotas.map(({ quota, rpm, deployments }) => ({
      quota,
      rpm,
      pace,
      deployments: deployments.map((deployment) => ({
        deployment: deployment.name,
        settingsMark: markOf(deployment),
      })),
    })),
    costs: costsOf(profile, pricesOf(prices, profile.model)),
  }))
}

function costsOf(profile: ModelProfile, prices: ModelPrices): Costs {
  const { model, asOf, source } = prices
  return {
    leastMicroUsd: leastMicroUsd(profile, prices),
    upperMicroUsd: (request) => upperBoundMicroUsd(request, prices, inputCount(request)),
    actualMicroUsd: (request, usage) => actualMicroUsd(usage, request, prices, inputCount(request)),
    expected: (request) => expected(request, prices, inputCount(request)),
    prices: { model, asOf, source },
  }
}

/** A job may name its model, or one of the deployments that serve it; either way it goes to the whole pool. */
function rulesOf({ name, profile, quotas }: PoolSettings): PoolRules {
  const names = quotas.flatMap(({ deployments }) => deployments.map((deployment) => deployment.name))
  return { pool: name, profile, names }
}

function deploymentsOf({ pools }: Settings): readonly DeploymentSettings[] {
  return pools.flatMap(({ quotas }) => quotas.flatMap(({ deployments }) => deployments))
}

/** Tokens are shared by all deployments without a key, and their source is loaded here: at a slot it would come late. */
async function modelOf(
  deployments: readonly DeploymentSettings[],
  callTimeoutMs: number,
  { credential, clock }: { credential: () => Promise<TokenCredential>; clock: Clock },
): Promise<ImageModel> {
  let source: ReturnType<typeof tokens> | undefined
  const tokenSource = async () => (source ??= tokens(credential))
  const token = async (): Promise<string> => (await tokenSource())()
  if (deployments.some(({ apiKey }) => apiKey === undefined)) await tokenSource()
  const makers = deployments.map(({ name, endpoint, deployment, apiVersion, apiKey }) => {
    const credential = apiKey === undefined ? { token } : { apiKey }
    const address = { endpoint, name: deployment, apiVersion }
    return [name, () => azureImageModel({ ...address, credential, callTimeoutMs }, clock)] as const
  })
  return modelByDeployment(new Map(makers))
}

const tableNames = { jobs: 'jobs', budget: 'budget', files: 'files', batches: 'batches' } as const

/** What the pipeline writes to must exist; asking again costs one refused request each, once an instance. */
async function prepareStorage(storage: StorageConnection): Promise<void> {
  const { blobs, queues } = storage
  await Promise.all([
    ...[imageContainer, fileContainer, inputContainer].map(async (name) =>
      blobs.getContainerClient(name).createIfNotExists(),
    ),
    ...Object.values(queueNames).map(async (name) => queues.getQueueClient(name).createIfNotExists()),
    ...Object.values(tableNames).map(async (name) => storage.table(name).createTable()),
  ])
}

/** Changes with the key and the address, and gives neither away. */
function markOf({ endpoint, deployment, apiVersion, apiKey }: DeploymentSettings): string {
  return fingerprint(JSON.stringify([endpoint, deployment, apiVersion, apiKey ?? null])).slice(0, 8)
}

/** Loaded only where identity is used: it is as much code as a third of what every function loads. */
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

/** What no part of the pipeline has a log for: functions, and what comes before there is a pipeline. */
export const log: EventLog = eventLog({ write: writeLine, now: Date.now })
