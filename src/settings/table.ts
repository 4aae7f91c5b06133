import { limits } from '../core/limits.ts'
import { settingDefaults } from './defaults.ts'

/** One setting, as documents, the example file and the Bicep have it. Tests hold all of them to this table. */
type SettingRow = {
  readonly name: string
  /** The service itself, the Functions host that it runs in, or our commands on one machine. */
  readonly readBy: 'service' | 'host' | 'commands'
  readonly kind: SettingKind
  /** What holds where nothing is set, as a reader wants to see it; empty: nothing does. */
  readonly default: string
  /** Whether `infra/` sets it: for every deployment, where a parameter says so, or for none. */
  readonly inAzure: 'always' | 'by parameter' | 'never'
  /** Never shown in full, and in Azure only a reference to a Key Vault. */
  readonly isSecret: boolean
  readonly meaning: string
}

/** `list`: with commas between. */
export type SettingKind = 'text' | 'name' | 'address' | 'number' | 'list' | 'JSON'

type Said = Omit<SettingRow, 'readBy' | 'default' | 'isSecret'> & {
  readonly default?: string | number
  readonly isSecret?: boolean
}

const storage = 'AzureWebJobsStorage'

const ofTheService: readonly Said[] = [
  {
    name: storage,
    kind: 'text',
    inAzure: 'never',
    default: 'development storage, locally',
    isSecret: true,
    meaning: "a storage account's connection string",
  },
  {
    name: `${storage}__accountName`,
    kind: 'name',
    inAzure: 'never',
    meaning: 'the account under identity, instead of it',
  },
  {
    name: `${storage}__blobServiceUri`,
    kind: 'address',
    inAzure: 'always',
    meaning: 'the address of its blobs; beside it those of queues and tables',
  },
  {
    name: `${storage}__queueServiceUri`,
    kind: 'address',
    inAzure: 'always',
    meaning: 'the address of its queues',
  },
  {
    name: `${storage}__tableServiceUri`,
    kind: 'address',
    inAzure: 'always',
    meaning: 'the address of its tables',
  },
  {
    name: `${storage}__credential`,
    kind: 'name',
    inAzure: 'always',
    meaning: '`managedidentity`: how the host signs in there',
  },
  {
    name: `${storage}__clientId`,
    kind: 'text',
    inAzure: 'always',
    meaning: 'the client id of a user-assigned identity',
  },
  {
    name: 'AZURE_OPENAI_TARGET_URI',
    kind: 'address',
    inAzure: 'never',
    meaning: "the portal's Target URI of the deployment, whole",
  },
  {
    name: 'AZURE_OPENAI_ENDPOINT',
    kind: 'address',
    inAzure: 'always',
    meaning: 'instead of it the account: `https://NAME.openai.azure.com`',
  },
  {
    name: 'AZURE_OPENAI_DEPLOYMENT',
    kind: 'name',
    inAzure: 'always',
    default: settingDefaults.AZURE_OPENAI_DEPLOYMENT,
    meaning: "the deployment's name, with the endpoint",
  },
  {
    name: 'AZURE_OPENAI_API_VERSION',
    kind: 'text',
    inAzure: 'by parameter',
    default: settingDefaults.AZURE_OPENAI_API_VERSION,
    meaning: 'the version of its API, with the endpoint',
  },
  {
    name: 'AZURE_OPENAI_API_KEY',
    kind: 'text',
    inAzure: 'by parameter',
    isSecret: true,
    meaning: "the deployment's key; without one Entra ID is used",
  },
  {
    name: 'AZURE_API_KEY',
    kind: 'text',
    inAzure: 'never',
    isSecret: true,
    meaning: 'the same, under the name that the portal shows',
  },
  {
    name: 'IMAGE_MODEL',
    kind: 'name',
    inAzure: 'always',
    default: "from the deployment's name",
    meaning: "which model's parameters hold: gpt-image-1, -1-mini, -1.5, -2, -2.5-…",
  },
  {
    name: 'IMAGE_RPM',
    kind: 'number',
    inAzure: 'always',
    default: settingDefaults.IMAGE_RPM,
    meaning: 'requests a minute that the deployment allows',
  },
  {
    name: 'IMAGE_DEPLOYMENTS',
    kind: 'JSON',
    inAzure: 'by parameter',
    meaning: 'several deployments, instead of the settings of one',
  },
  {
    name: 'PACE',
    kind: 'number',
    inAzure: 'by parameter',
    default: settingDefaults.PACE,
    meaning: 'the share of the requests a minute that is used',
  },
  {
    name: 'CALL_TIMEOUT_SECONDS',
    kind: 'number',
    inAzure: 'by parameter',
    default: settingDefaults.CALL_TIMEOUT_SECONDS,
    meaning: 'how long one call may take',
  },
  {
    name: 'MAX_ATTEMPTS',
    kind: 'number',
    inAzure: 'by parameter',
    default: settingDefaults.MAX_ATTEMPTS,
    meaning: 'calls per job before it fails; waiting and 429 do not count',
  },
  {
    name: 'PRICES',
    kind: 'JSON',
    inAzure: 'by parameter',
    default: "OpenAI's list prices",
    meaning: 'what an image costs, where it differs: below',
  },
  {
    name: 'REFUSAL_SHARE',
    kind: 'number',
    inAzure: 'by parameter',
    default: settingDefaults.REFUSAL_SHARE,
    meaning: 'more refusals among 50 jobs pause their batch; 1: never',
  },
  {
    name: 'BATCH_SHARES',
    kind: 'JSON',
    inAzure: 'by parameter',
    default: 'every batch 1',
    meaning: 'what batches get beside others of the same priority: below',
  },
  {
    name: 'DARKROOM_API_KEYS',
    kind: 'JSON',
    inAzure: 'always',
    default: 'this machine only',
    meaning: 'who may ask over HTTP, as hashes; `npm run key` makes them',
  },
  {
    name: 'CORS_ORIGINS',
    kind: 'list',
    inAzure: 'by parameter',
    meaning: 'web pages that may call the service; `*` stands for all',
  },
  {
    name: 'WEBHOOK_SECRETS',
    kind: 'list',
    inAzure: 'by parameter',
    default: 'no webhooks',
    isSecret: true,
    meaning: 'what signs webhooks: `whsec_…`, the newest first',
  },
  {
    name: 'WEBHOOK_HOSTS',
    kind: 'list',
    inAzure: 'by parameter',
    meaning: 'hosts that webhooks may reach by http or at private addresses',
  },
  {
    name: 'INPUT_HOSTS',
    kind: 'list',
    inAzure: 'by parameter',
    meaning: 'hosts whose images edits may start from',
  },
]

const ofTheHost: readonly Said[] = [
  {
    name: 'FUNCTIONS_REQUEST_BODY_SIZE_LIMIT',
    kind: 'number',
    inAzure: 'always',
    default: limits.hostBodyBytesMax,
    meaning: 'bytes that a request may have',
  },
  {
    name: 'FUNCTIONS_WORKER_RUNTIME',
    kind: 'name',
    inAzure: 'never',
    meaning: '`node`, for Core Tools; in Azure the plan says it',
  },
  {
    name: 'APPLICATIONINSIGHTS_CONNECTION_STRING',
    kind: 'text',
    inAzure: 'always',
    meaning: 'where logs and figures go',
  },
  {
    name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING',
    kind: 'text',
    inAzure: 'always',
    meaning: 'the identity that sends them',
  },
  {
    name: 'languageWorkers__node__arguments',
    kind: 'text',
    inAzure: 'by parameter',
    meaning: 'makes Node use less memory, on instances of 512 MB',
  },
  {
    name: 'MALLOC_ARENA_MAX',
    kind: 'number',
    inAzure: 'by parameter',
    meaning: '`2` makes glibc keep less memory, on those',
  },
  {
    name: 'AzureWebJobsDisableHomepage',
    kind: 'text',
    inAzure: 'never',
    meaning: "`true` hides the host's own start page",
  },
]

const ofTheCommands: readonly Said[] = [
  { name: 'PORT', kind: 'number', inAzure: 'never', default: '7071', meaning: 'where the functions listen' },
  {
    name: 'SHUTDOWN_GRACE_SECONDS',
    kind: 'number',
    inAzure: 'never',
    default: '30',
    meaning: 'how long calls under way may go on after Ctrl-C',
  },
  {
    name: 'MESSAGE_LEASE_SECONDS',
    kind: 'number',
    inAzure: 'never',
    default: '600',
    meaning: 'how long the messages of a killed instance stay hidden',
  },
  {
    name: 'LOG_FORMAT',
    kind: 'text',
    inAzure: 'never',
    default: 'text',
    meaning: '`json`: the log as Azure gets it, a JSON object a line',
  },
]

/** All of them, in the order in which documents show them. */
export const settingTable: readonly SettingRow[] = [
  ...rows('service', ofTheService),
  ...rows('host', ofTheHost),
  ...rows('commands', ofTheCommands),
]

function rows(readBy: SettingRow['readBy'], said: readonly Said[]): readonly SettingRow[] {
  return said.map((row) => ({
    ...row,
    readBy,
    default: String(row.default ?? ''),
    isSecret: row.isSecret ?? false,
  }))
}

const secretNames = new Set(settingTable.filter(({ isSecret }) => isSecret).map(({ name }) => name))

export function isSecretSetting(name: string): boolean {
  return secretNames.has(name)
}
