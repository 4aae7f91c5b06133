import { limits } from '../core/limits.ts'
import type { WrittenRow } from './setting-row.ts'

/** What the Functions host reads, in which the service runs. */
export const hostSettings: readonly WrittenRow[] = [
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

/** What our commands on one machine read. */
export const commandSettings: readonly WrittenRow[] = [
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
