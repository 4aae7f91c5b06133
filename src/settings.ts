import { z } from 'zod'
import type { HostPattern } from './core/destination.ts'
import type { Shares } from './core/budget/fairness.ts'
import { pricesSetting, priceTable, type PriceTable } from './core/costs/prices.ts'
import { profileNamed, profileOfDeployment } from './core/requests/profiles.ts'
import {
  addressOf,
  apiVersionField,
  contradictions,
  endpointField,
  nameField,
  targetUriField,
  targetUriForm,
} from './settings/address.ts'
import { readApiKeys, type ApiKey } from './settings/api-keys.ts'
import { settingDefaults } from './settings/defaults.ts'
import { readDeploymentList } from './settings/deployment-list.ts'
import {
  httpsUrl,
  keyField,
  maskedSecret,
  modelField,
  numberOf,
  readFields,
  rpmBounds,
  textOf,
  type Environment,
  type Fault,
} from './settings/fields.ts'
import { originsField } from './settings/origins.ts'
import { hostsField, secretsField } from './settings/outgoing.ts'
import { poolsFrom, type ConfiguredDeployment, type PoolSettings } from './settings/pools.ts'
import { unresolvedReference } from './settings/references.ts'
import { sharesField } from './settings/shares.ts'
import { isSecretSetting } from './settings/table.ts'

export type { ApiKey } from './settings/api-keys.ts'
export type { DeploymentSettings, PoolSettings, QuotaSettings } from './settings/pools.ts'

/** Everything the environment says, parsed once. */
export type Settings = {
  readonly storage: StorageSettings
  /** One for each model; the first, called `default`, takes the jobs that name none. */
  readonly pools: readonly PoolSettings[]
  /** Share of the requests a minute that is used. */
  readonly pace: number
  readonly callTimeoutMs: number
  readonly attemptsMax: number
  readonly prices: PriceTable
  /** More refusals than this share of a batch's newest jobs pause it. */
  readonly refusalShareMax: number
  readonly batchShares: Shares
  readonly apiKeys: readonly ApiKey[]
  readonly corsOrigins: readonly string[]
  /** What says that this runs on Azure, where others than this machine's user can reach it; null: it does not. */
  readonly azureSigns: string | null
  readonly webhooks: WebhookSettings
  /** Hosts whose images edits may start from. */
  readonly inputHosts: readonly HostPattern[]
}

export type WebhookSettings = {
  /** The newest first; none: no webhook is signed, and none is taken. */
  readonly secrets: readonly string[]
  /** May be private, or plain http. */
  readonly hosts: readonly HostPattern[]
}

export type StorageSettings =
  | { readonly kind: 'connection-string'; readonly connectionString: string }
  | {
      readonly kind: 'identity'
      readonly blobUri: string
      readonly queueUri: string
      readonly tableUri: string
      readonly clientId: string | undefined
    }

/** All faults of the settings, a line each. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError'
}

/** Each setting with what is wanted of it. `settings/table.ts` has them all, with what they are for. */
const schema = z.object({
  AzureWebJobsStorage: textOf(
    /^UseDevelopmentStorage=true|(^|;)(AccountName|BlobEndpoint|QueueEndpoint|TableEndpoint)=/i,
    'a storage connection string, or UseDevelopmentStorage=true',
  ).optional(),
  AzureWebJobsStorage__accountName: textOf(/^[a-z0-9]{3,24}$/, 'the name of a storage account').optional(),
  AzureWebJobsStorage__blobServiceUri: httpsUrl.optional(),
  AzureWebJobsStorage__queueServiceUri: httpsUrl.optional(),
  AzureWebJobsStorage__tableServiceUri: httpsUrl.optional(),
  AzureWebJobsStorage__credential: z.literal('managedidentity', 'managedidentity').optional(),
  AzureWebJobsStorage__clientId: z.guid('the client id (a GUID) of a user-assigned identity').optional(),
  AZURE_OPENAI_TARGET_URI: targetUriField.optional(),
  AZURE_OPENAI_ENDPOINT: endpointField.optional(),
  AZURE_OPENAI_DEPLOYMENT: nameField.optional(),
  AZURE_OPENAI_API_VERSION: apiVersionField.optional(),
  AZURE_OPENAI_API_KEY: keyField.optional(),
  AZURE_API_KEY: keyField.optional(),
  IMAGE_MODEL: modelField.optional(),
  IMAGE_RPM: numberOf(rpmBounds.min, rpmBounds.max, rpmBounds.wanted).default(settingDefaults.IMAGE_RPM),
  /** Read by itself: see settings/deployment-list.ts. */
  IMAGE_DEPLOYMENTS: z.string().optional(),
  PACE: numberOf(0.01, 1, 'a share of the requests a minute, from 0.01 to 1').default(settingDefaults.PACE),
  CALL_TIMEOUT_SECONDS: numberOf(1, 1_500, 'seconds, a number from 1 to 1500').default(
    settingDefaults.CALL_TIMEOUT_SECONDS,
  ),
  MAX_ATTEMPTS: numberOf(1, 100, 'a whole number from 1 to 100', /^\d+$/).default(
    settingDefaults.MAX_ATTEMPTS,
  ),
  PRICES: pricesSetting.optional(),
  REFUSAL_SHARE: numberOf(0.02, 1, 'a share of the newest 50 jobs, from 0.02 to 1 (1: never)').default(
    settingDefaults.REFUSAL_SHARE,
  ),
  BATCH_SHARES: sharesField.optional(),
  /** Read by itself: see settings/api-keys.ts. */
  DARKROOM_API_KEYS: z.string().optional(),
  CORS_ORIGINS: originsField.optional(),
  WEBHOOK_SECRETS: secretsField.optional(),
  WEBHOOK_HOSTS: hostsField.optional(),
  INPUT_HOSTS: hostsField.optional(),
})

type Values = z.output<typeof schema>

export const settingNames: readonly string[] = Object.keys(schema.shape)

/** What describes a single deployment, and has no place beside IMAGE_DEPLOYMENTS. */
export const singleDeploymentNames: readonly string[] = [
  'AZURE_OPENAI_TARGET_URI',
  'AZURE_OPENAI_ENDPOINT',
  'AZURE_OPENAI_DEPLOYMENT',
  'AZURE_OPENAI_API_VERSION',
  'IMAGE_MODEL',
  'IMAGE_RPM',
]

/** The single deployment's keys; one beside IMAGE_DEPLOYMENTS must be named by an entry. */
const keyNames: readonly string[] = ['AZURE_OPENAI_API_KEY', 'AZURE_API_KEY']

/**
 * What the platform sets beside `WEBSITE_SITE_NAME` for each instance, by plan. Alone none of them tells: containers
 * everywhere have a CONTAINER_NAME. Source: the Functions host's `EnvironmentSettingNames`.
 */
const azureInstanceNames = ['WEBSITE_INSTANCE_ID', 'WEBSITE_POD_NAME', 'CONTAINER_NAME'] as const

/** The variables that say so, where this runs on Azure. Core Tools, and our own commands, call themselves Development. */
function azureSigns(environment: Environment): string | null {
  const isSet = (name: string): boolean => (environment[name] ?? '') !== ''
  if (environment['AZURE_FUNCTIONS_ENVIRONMENT'] === 'Development' || !isSet('WEBSITE_SITE_NAME')) return null
  const instance = azureInstanceNames.find(isSet)
  return instance === undefined ? null : `WEBSITE_SITE_NAME and ${instance}`
}

/** The settings that were made. One left empty, as the example file leaves them, was not. */
type Made = Readonly<Record<string, string>>

/**
 * Reads the settings from the environment. Throws one `SettingsError` that lists every fault: the setting, what was
 * found (secrets masked) and what is wanted.
 */
export function readSettings(environment: Environment): Settings {
  const made: Made = Object.fromEntries(
    settingNames.flatMap((name) => {
      const found = environment[name]?.trim() ?? ''
      return found === '' ? [] : [[name, found]]
    }),
  )
  const unresolved = Object.entries(made).flatMap(([name, found]) => unresolvedReference(name, found) ?? [])
  const resolved = Object.entries(made).filter(([name]) => !unresolved.some((fault) => fault.name === name))
  const { values, wanted } = readFields(schema, Object.fromEntries(resolved))
  const unreadable = [...wanted].map(([name, what]) => ({ name, found: shown(name, made), wanted: what }))
  const { configured, faults: deploymentFaults } = deploymentsOf(values, made, environment)
  const apiKeys = readApiKeys(values.DARKROOM_API_KEYS ?? '{}')
  const ownFaults = [...unresolved, ...unreadable]
  const faults = [...missingStorage(made), ...ownFaults, ...deploymentFaults, ...apiKeys.faults]
  const storage = storageOf(values)
  if (faults.length > 0 || storage === undefined) throw faulty(faults)
  return {
    storage,
    pools: poolsFrom(configured),
    pace: values.PACE,
    callTimeoutMs: 1_000 * values.CALL_TIMEOUT_SECONDS,
    attemptsMax: values.MAX_ATTEMPTS,
    prices: priceTable(values.PRICES),
    refusalShareMax: values.REFUSAL_SHARE,
    batchShares: values.BATCH_SHARES ?? {},
    apiKeys: apiKeys.keys,
    corsOrigins: values.CORS_ORIGINS ?? [],
    azureSigns: azureSigns(environment),
    webhooks: { secrets: values.WEBHOOK_SECRETS ?? [], hosts: values.WEBHOOK_HOSTS ?? [] },
    inputHosts: values.INPUT_HOSTS ?? [],
  }
}

function faulty(faults: readonly Fault[]): SettingsError {
  // A key that is named by the list of deployments, and is a setting of its own, may be found wrong in both places.
  const lines = new Set(
    faults.map(({ name, found, wanted }) => `  ${name}: found ${found}; wanted ${wanted}`),
  )
  return new SettingsError(`${lines.size} of the settings cannot be used:\n${[...lines].join('\n')}`)
}

type Deployments = {
  readonly configured: readonly ConfiguredDeployment[]
  readonly faults: readonly Fault[]
}

function deploymentsOf(values: Values, made: Made, environment: Environment): Deployments {
  const text = values.IMAGE_DEPLOYMENTS
  if (text === undefined) return singleDeployment(values, made)
  const list = readDeploymentList(text, {
    environment,
    reserved: settingNames.filter((name) => !keyNames.includes(name)),
    clientId: values.AzureWebJobsStorage__clientId,
  })
  const unusedKeys = keyNames.filter((name) => !list.keySettings.includes(name))
  const besides = [...singleDeploymentNames, ...unusedKeys]
    .filter((name) => made[name] !== undefined)
    .map((name) => ({ name, found: shown(name, made), wanted: besideWanted(name) }))
  return { configured: list.configured, faults: [...list.faults, ...besides] }
}

function besideWanted(name: string): string {
  return keyNames.includes(name)
    ? 'nothing beside IMAGE_DEPLOYMENTS, or a key_setting there that names it'
    : 'nothing beside IMAGE_DEPLOYMENTS, which says it of each deployment'
}

function singleDeployment(values: Values, made: Made): Deployments {
  const said = {
    target: values.AZURE_OPENAI_TARGET_URI,
    endpoint: values.AZURE_OPENAI_ENDPOINT,
    deployment: values.AZURE_OPENAI_DEPLOYMENT,
    apiVersion: values.AZURE_OPENAI_API_VERSION,
  }
  const faults = [...contradictions(said, singleNames)]
  if (made[singleNames.target] === undefined && made[singleNames.endpoint] === undefined) {
    const wanted = `${targetUriForm}; or ${singleNames.endpoint}, or IMAGE_DEPLOYMENTS`
    faults.push({ name: singleNames.target, found: 'nothing', wanted })
  }
  const address = addressOf(said, settingDefaults.AZURE_OPENAI_DEPLOYMENT)
  if (address === undefined) return { configured: [], faults }
  const name = address.deployment
  const profile = values.IMAGE_MODEL === undefined ? undefined : profileNamed(values.IMAGE_MODEL)
  const apiKey = values.AZURE_OPENAI_API_KEY ?? values.AZURE_API_KEY
  const clientId = values.AzureWebJobsStorage__clientId
  const configured = {
    deployment: { name, ...address, apiKey, clientId },
    profile: profile ?? profileOfDeployment(name),
    quota: name,
    rpm: values.IMAGE_RPM,
  }
  return { configured: [configured], faults }
}

const singleNames = {
  target: 'AZURE_OPENAI_TARGET_URI',
  endpoint: 'AZURE_OPENAI_ENDPOINT',
  deployment: 'AZURE_OPENAI_DEPLOYMENT',
  apiVersion: 'AZURE_OPENAI_API_VERSION',
} as const

function missingStorage(made: Made): readonly Fault[] {
  const services = ['blob', 'queue', 'table'].map((service) => `AzureWebJobsStorage__${service}ServiceUri`)
  const hasAccount =
    made['AzureWebJobsStorage'] !== undefined || made['AzureWebJobsStorage__accountName'] !== undefined
  if (hasAccount) return []
  const absent = services.filter((name) => made[name] === undefined)
  if (absent.length === services.length) {
    const wanted = 'a storage connection string, or AzureWebJobsStorage__accountName for identity'
    return [{ name: 'AzureWebJobsStorage', found: 'nothing', wanted }]
  }
  const wanted = 'the address of the service, as the other services have theirs'
  return absent.map((name) => ({ name, found: 'nothing', wanted }))
}

function storageOf(values: Values): StorageSettings | undefined {
  const connectionString = values.AzureWebJobsStorage
  if (connectionString !== undefined) return { kind: 'connection-string', connectionString }
  const account = values.AzureWebJobsStorage__accountName
  const uriOf = (service: string, given: string | undefined): string | undefined =>
    given ?? (account === undefined ? undefined : `https://${account}.${service}.core.windows.net`)
  const blobUri = uriOf('blob', values.AzureWebJobsStorage__blobServiceUri)
  const queueUri = uriOf('queue', values.AzureWebJobsStorage__queueServiceUri)
  const tableUri = uriOf('table', values.AzureWebJobsStorage__tableServiceUri)
  if (blobUri === undefined || queueUri === undefined || tableUri === undefined) return undefined
  return { kind: 'identity', blobUri, queueUri, tableUri, clientId: values.AzureWebJobsStorage__clientId }
}

function shown(name: string, made: Made): string {
  const found = made[name] ?? ''
  return isSecretSetting(name) ? maskedSecret(found) : JSON.stringify(found.slice(0, 200))
}
