import { z } from 'zod'
import { pricesSetting, priceTable, type PriceTable } from './core/prices.ts'
import { profileNamed, profileOfDeployment, profiles, type ModelProfile } from './core/profiles.ts'

/** Everything the environment says, parsed once. */
export type Settings = {
  readonly storage: StorageSettings
  readonly deployment: DeploymentSettings
  /** Requests a minute that the deployment allows. */
  readonly rpm: number
  /** Share of them that is used. */
  readonly pace: number
  readonly callTimeoutMs: number
  readonly attemptsMax: number
  readonly prices: PriceTable
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

export type DeploymentSettings = {
  /** Scheme and host, without a path. */
  readonly endpoint: string
  readonly name: string
  readonly apiVersion: string
  readonly profile: ModelProfile
  /** Undefined: Entra ID through `DefaultAzureCredential`. */
  readonly apiKey: string | undefined
  /** A user-assigned identity, where storage names one. */
  readonly clientId: string | undefined
}

/** All faults of the settings, a line each. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError'
}

const httpsUrl = z
  .url('an address such as https://NAME.openai.azure.com')
  .regex(
    /^https:\/\/|^http:\/\/(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(\/|$)/,
    'https (http only on this machine)',
  )

const key = z.string().regex(/^[\x21-\x7e]+$/, 'a key without spaces')

/** A number within bounds, of which one sentence says what is wanted. */
function numberOf(min: number, max: number, wanted: string, pattern = /^\d+(\.\d+)?$/) {
  return z
    .string()
    .regex(pattern, wanted)
    .transform(Number)
    .refine((value) => value >= min && value <= max, wanted)
}

const models = profiles.map(({ model }) => model)
const targetUriForm =
  'the Target URI as the portal shows it: https://NAME.cognitiveservices.azure.com/openai/deployments/DEPLOYMENT/images/generations?api-version=VERSION'

const apiVersionPattern = /^\d{4}-\d\d-\d\d(-preview)?$/

/** Each setting with what is wanted of it, in the order in which the README explains them. */
const schema = z.object({
  AzureWebJobsStorage: z
    .string()
    .regex(
      /^UseDevelopmentStorage=true|(^|;)(AccountName|BlobEndpoint|QueueEndpoint|TableEndpoint)=/i,
      'a storage connection string, or UseDevelopmentStorage=true',
    )
    .optional(),
  AzureWebJobsStorage__accountName: z
    .string()
    .regex(/^[a-z0-9]{3,24}$/, 'the name of a storage account')
    .optional(),
  AzureWebJobsStorage__blobServiceUri: httpsUrl.optional(),
  AzureWebJobsStorage__queueServiceUri: httpsUrl.optional(),
  AzureWebJobsStorage__tableServiceUri: httpsUrl.optional(),
  AzureWebJobsStorage__credential: z.literal('managedidentity', 'managedidentity').optional(),
  AzureWebJobsStorage__clientId: z.guid('the client id (a GUID) of a user-assigned identity').optional(),
  AZURE_OPENAI_TARGET_URI: httpsUrl
    .transform(parseTargetUri)
    .refine((uri) => uri !== undefined, targetUriForm)
    .optional(),
  AZURE_OPENAI_ENDPOINT: httpsUrl.transform((url) => new URL(url).origin).optional(),
  AZURE_OPENAI_DEPLOYMENT: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, 'a deployment name: 1 to 64 of A-Z a-z 0-9 . _ -')
    .optional(),
  AZURE_OPENAI_API_VERSION: z
    .string()
    .regex(apiVersionPattern, 'a version such as 2025-04-01-preview')
    .optional(),
  AZURE_OPENAI_API_KEY: key.optional(),
  AZURE_API_KEY: key.optional(),
  IMAGE_MODEL: z.enum(models, `one of ${models.join(', ')}`).optional(),
  IMAGE_RPM: numberOf(0.1, 60_000, 'requests a minute, a number from 0.1 to 60000').default(60),
  PACE: numberOf(0.01, 1, 'a share of the requests a minute, from 0.01 to 1').default(0.98),
  CALL_TIMEOUT_SECONDS: numberOf(1, 1_500, 'seconds, a number from 1 to 1500').default(600),
  MAX_ATTEMPTS: numberOf(1, 100, 'a whole number from 1 to 100', /^\d+$/).default(5),
  PRICES: pricesSetting.optional(),
})

type Values = z.output<typeof schema>

export const settingNames: readonly string[] = Object.keys(schema.shape)

const defaultDeployment = 'gpt-image-1'
const defaultApiVersion = '2025-04-01-preview'

/**
 * Reads the settings from the environment. Throws one `SettingsError` that lists every fault: the setting, what was
 * found (secrets masked) and what is wanted.
 */
export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  // A setting left empty, as the example file leaves them, is one that was not made.
  const made = Object.fromEntries(
    settingNames.flatMap((name) => {
      const found = environment[name]?.trim() ?? ''
      return found === '' ? [] : [[name, found]]
    }),
  )
  const faults: Fault[] = [...missing(made)]
  const parsed = schema.safeParse(made)
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const name = String(issue.path[0])
      faults.push({ name, found: masked(name, made[name]), wanted: issue.message })
    }
    throw faulty(faults)
  }
  faults.push(...contradictions(parsed.data))
  const storage = storageOf(parsed.data)
  const deployment = deploymentOf(parsed.data)
  if (faults.length > 0 || storage === undefined || deployment === undefined) throw faulty(faults)
  return {
    storage,
    deployment,
    rpm: parsed.data.IMAGE_RPM,
    pace: parsed.data.PACE,
    callTimeoutMs: 1_000 * parsed.data.CALL_TIMEOUT_SECONDS,
    attemptsMax: parsed.data.MAX_ATTEMPTS,
    prices: priceTable(parsed.data.PRICES),
  }
}

type Fault = { readonly name: string; readonly found: string; readonly wanted: string }

function faulty(faults: readonly Fault[]): SettingsError {
  const lines = faults.map(({ name, found, wanted }) => `  ${name}: found ${found}; wanted ${wanted}`)
  return new SettingsError(`${faults.length} of the settings cannot be used:\n${lines.join('\n')}`)
}

function missing(made: Readonly<Record<string, string>>): readonly Fault[] {
  const faults: Fault[] = []
  const services = ['blob', 'queue', 'table'].map((service) => `AzureWebJobsStorage__${service}ServiceUri`)
  const hasAccount =
    made['AzureWebJobsStorage'] !== undefined || made['AzureWebJobsStorage__accountName'] !== undefined
  const absent = services.filter((name) => made[name] === undefined)
  if (!hasAccount && absent.length === services.length) {
    const wanted = 'a storage connection string, or AzureWebJobsStorage__accountName for identity'
    faults.push({ name: 'AzureWebJobsStorage', found: 'nothing', wanted })
  } else if (!hasAccount) {
    const wanted = 'the address of the service, as the other services have theirs'
    faults.push(...absent.map((name) => ({ name, found: 'nothing', wanted })))
  }
  if (made['AZURE_OPENAI_TARGET_URI'] === undefined && made['AZURE_OPENAI_ENDPOINT'] === undefined) {
    faults.push({
      name: 'AZURE_OPENAI_TARGET_URI',
      found: 'nothing',
      wanted: `${targetUriForm}; or AZURE_OPENAI_ENDPOINT`,
    })
  }
  return faults
}

/** The Target URI says it all: what is said beside it must agree. */
function contradictions(values: Values): readonly Fault[] {
  const target = values.AZURE_OPENAI_TARGET_URI
  if (target === undefined) return []
  const pairs = [
    ['AZURE_OPENAI_ENDPOINT', values.AZURE_OPENAI_ENDPOINT, target.endpoint],
    ['AZURE_OPENAI_DEPLOYMENT', values.AZURE_OPENAI_DEPLOYMENT, target.deployment],
    ['AZURE_OPENAI_API_VERSION', values.AZURE_OPENAI_API_VERSION, target.apiVersion],
  ] as const
  return pairs.flatMap(([name, found, said]) =>
    found === undefined || said === undefined || found === said
      ? []
      : [{ name, found, wanted: `nothing, or ${said} as AZURE_OPENAI_TARGET_URI has it` }],
  )
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

function deploymentOf(values: Values): DeploymentSettings | undefined {
  const target = values.AZURE_OPENAI_TARGET_URI
  const endpoint = target?.endpoint ?? values.AZURE_OPENAI_ENDPOINT
  if (endpoint === undefined) return undefined
  const name = target?.deployment ?? values.AZURE_OPENAI_DEPLOYMENT ?? defaultDeployment
  const profile = values.IMAGE_MODEL === undefined ? undefined : profileNamed(values.IMAGE_MODEL)
  return {
    endpoint,
    name,
    apiVersion: target?.apiVersion ?? values.AZURE_OPENAI_API_VERSION ?? defaultApiVersion,
    profile: profile ?? profileOfDeployment(name),
    apiKey: values.AZURE_OPENAI_API_KEY ?? values.AZURE_API_KEY,
    clientId: values.AzureWebJobsStorage__clientId,
  }
}

type Target = {
  readonly endpoint: string
  readonly deployment: string
  readonly apiVersion: string | undefined
}

function parseTargetUri(text: string): Target | undefined {
  const url = new URL(text)
  const deployment = /^\/openai\/deployments\/([A-Za-z0-9._-]{1,64})\/images\/(generations|edits)\/?$/.exec(
    url.pathname,
  )?.[1]
  const apiVersion = url.searchParams.get('api-version') ?? undefined
  const isReadable =
    deployment !== undefined && (apiVersion === undefined || apiVersionPattern.test(apiVersion))
  return isReadable ? { endpoint: url.origin, deployment, apiVersion } : undefined
}

/** Keys are shown by their ends only, and never a short one. */
function masked(name: string, found: string | undefined): string {
  if (found === undefined) return 'nothing'
  const isSecret = name.endsWith('KEY') || name === 'AzureWebJobsStorage'
  if (!isSecret) return JSON.stringify(found.slice(0, 200))
  return found.length < 16
    ? `${found.length} characters`
    : `${found.slice(0, 3)}…${found.slice(-2)} (${found.length} characters)`
}
