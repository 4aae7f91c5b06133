import { profileOfDeployment } from '../../src/core/requests/profiles.ts'
import { submissionParser } from '../../src/core/requests/submission-parser.ts'
import { decodeBase64 } from '../../src/model/base64.ts'
import { type Costs, type Context } from '../../src/pipeline/context.ts'
import type { Job, Phase } from '../../src/core/jobs/job.ts'
import type { Ledger, QuotaLimits } from '../../src/core/budget/ledger.ts'
import type { JobRef } from '../../src/ports/jobs.ts'
import type { WorkMessage } from '../../src/ports/messages.ts'
import { newCaches } from '../../src/pipeline/caches.ts'
import { newCapacity, type Share } from '../../src/pipeline/capacity.ts'
import { tickWatches } from '../../src/pipeline/tick-watch.ts'
import { limits } from '../../src/core/limits.ts'
import { batchTable } from '../../src/storage/tables/batch-table.ts'
import { batchList } from '../../src/storage/tables/batch-list.ts'
import { budgetTable } from '../../src/storage/tables/budget-table.ts'
import { fileStore } from '../../src/storage/blobs/files.ts'
import { jobTable } from '../../src/storage/tables/job-table.ts'
import { uploadStore } from '../../src/storage/blobs/uploads.ts'
import { memoryFileContents, type MemoryFileContents } from './memory-file-contents.ts'
import { memoryImages, type MemoryImages } from './memory-images.ts'
import { memoryInputs, type MemoryInputs } from './memory-inputs.ts'
import { memoryMessages, type MemoryMessages } from './memory-messages.ts'
import { memoryTable, type MemoryTable } from './memory-table.ts'
import { memoryWebhooks, type MemoryWebhooks } from './memory-webhooks.ts'
import { scriptedModel, type ScriptedModel } from './scripted-model.ts'
import { virtualClock, type VirtualClock } from './virtual-clock.ts'

/** What all instances of a test share. */
export type World = {
  readonly clock: VirtualClock
  readonly jobs: MemoryTable
  readonly budget: MemoryTable
  readonly images: MemoryImages
  readonly fileTable: MemoryTable
  readonly batchTable: MemoryTable
  readonly fileContents: MemoryFileContents
  readonly inputs: MemoryInputs
  readonly messages: MemoryMessages
  readonly model: ScriptedModel
  readonly webhooks: MemoryWebhooks
}

export const deployment = 'gpt-image-1'
const pool = 'pool'
const parse = submissionParser({
  decodeBase64,
  pools: [{ pool, profile: profileOfDeployment(deployment), names: [deployment] }],
})

/** One cent a call at the most, half of it as a rule. */
export const costs: Costs = {
  leastMicroUsd: 10_000,
  upperMicroUsd: ({ n = 1 }) => n * 10_000,
  actualMicroUsd: ({ n = 1 }) => n * 5_000,
  expected: ({ n = 1 }) => ({ images: n, inputTokens: 10, outputTokens: n * 1_000, microUsd: n * 5_000 }),
  prices: { model: 'gpt-image-1', asOf: '2026-01-01', source: 'the test' },
}

export const quota: QuotaLimits = {
  quota: deployment,
  rpm: 60,
  pace: 0.98,
  deployments: [{ deployment, settingsMark: 'mark' }],
}

export function newWorld(startAt?: number): World {
  const clock = virtualClock(startAt)
  return {
    clock,
    jobs: memoryTable(),
    budget: memoryTable(),
    images: memoryImages(),
    fileTable: memoryTable(),
    batchTable: memoryTable(),
    fileContents: memoryFileContents(),
    inputs: memoryInputs(() => clock.now()),
    messages: memoryMessages(),
    model: scriptedModel(clock),
    webhooks: memoryWebhooks(),
  }
}

/** One instance in that world. Chance is always in the middle, so that waits are known. */
export function contextIn(world: World, own: Partial<Context> = {}): Context {
  let ids = 0
  const instance = `instance-${(rooms += 1)}`
  const chance = (): number => 0.5
  const newId = (): string => `${instance}-${(ids += 1)}`
  const files = { table: world.fileTable, contents: world.fileContents, clock: world.clock, newId }
  return {
    ...world,
    chance,
    instance,
    newId,
    log: { event() {} },
    jobs: jobTable(world.jobs, { chance, newId, clock: world.clock }),
    budgets: budgetTable(world.budget),
    batches: batchTable(world.jobs),
    batchList: batchList(world.batchTable),
    files: fileStore(files),
    uploads: uploadStore(files),
    parse,
    fetchInput: async () => ({ kind: 'refused', why: 'is not at a host that this service may ask' }),
    inputFormatsOf: () => ['png', 'jpeg'],
    poolOfModel: (model) => (model === deployment ? pool : undefined),
    pools: [{ name: pool, quotas: [quota], costs }],
    attemptsMax: 3,
    onUnknown: 'retry',
    refusalShareMax: 0.3,
    shareOf: () => 1,
    isTenant: () => false,
    ownerWeight: () => 1,
    capacity: newCapacity(limits.jobsAtOnce),
    ticksOf: tickWatches(),
    stopping: new AbortController().signal,
    caches: newCaches(),
    ledgerChanges: new Map(),
    ...own,
  }
}

let rooms = 0

/** As if others had taken so much. */
export function setInUse(share: Share, amount: number): void {
  share.add(amount - share.inUse())
}

export const batch = 'batch-a'

export function messageOf(
  customId: string,
  fields: object = {},
): { text: string; messageId: string; insertedAt: undefined } {
  const text = JSON.stringify({ batch, custom_id: customId, prompt: `a picture of ${customId}`, ...fields })
  return { text, messageId: `message-${customId}`, insertedAt: undefined }
}

export async function jobIn(context: Context, key: string): Promise<Job> {
  const stored = await context.jobs.get({ batch, key })
  if (stored === undefined) throw new Error(`there is no job ${key}`)
  return stored.job
}

/** The job's phase, which must be of this kind. */
export async function phaseOf<Kind extends Phase['kind']>(
  context: Context,
  { key }: Pick<JobRef, 'key'>,
  kind: Kind,
): Promise<Extract<Phase, { kind: Kind }>> {
  const { phase } = await jobIn(context, key)
  if (!isOfKind(phase, kind)) throw new Error(`job ${key} is ${phase.kind}; wanted ${kind}`)
  return phase
}

function isOfKind<Kind extends Phase['kind']>(
  phase: Phase,
  kind: Kind,
): phase is Extract<Phase, { kind: Kind }> {
  return phase.kind === kind
}

export async function ledgerIn(context: Context): Promise<Ledger> {
  const stored = await context.budgets.readLedger({ pool, quota: deployment })
  if (stored === undefined) throw new Error('there is no ledger yet')
  return stored.value
}

/** The newest work message of a job. */
export function workOf({ messages }: World, key: string): WorkMessage {
  const sent = messages.work.findLast(({ message }) => message.key === key)
  if (sent === undefined) throw new Error(`no work message was sent for job ${key}`)
  return sent.message
}
