import { createHash } from 'node:crypto'
import { TableClient } from '@azure/data-tables'
import { BlobServiceClient } from '@azure/storage-blob'
import { expect, vi } from 'vitest'
import { openContext } from '../../../src/app.ts'
import { localCaller, type Caller } from '../../../src/core/caller.ts'
import { claimed, failed, succeeded } from '../../../src/core/jobs/transitions.ts'
import type { Job } from '../../../src/core/jobs/job.ts'
import { routes } from '../../../src/functions/route.ts'
import { startAzurite } from '../../../src/local/azurite/azurite.ts'
import { startDeployment } from '../../../src/local/deployment/deployment.ts'
import type { Context } from '../../../src/pipeline/context.ts'
import { takeMessage, takeRequest } from '../../../src/pipeline/intake/intake.ts'
import { runJob } from '../../../src/pipeline/running/worker.ts'
import type { FilePurpose } from '../../../src/ports/files.ts'
import type { JobRef, JobSnapshot } from '../../../src/ports/jobs.ts'
import { usage } from '../../contract/jobs.ts'
import { png } from '../../support/png.ts'
import { read, startLibrary } from '../library.ts'

/** The keys, by name; null: what came by the queue, and belongs to no key. */
export const owners = ['studio', 'agency', 'wall', 'ops', null] as const
export type Owner = (typeof owners)[number]

const keyOptions = { studio: {}, agency: {}, wall: { read_only: true }, ops: { admin: true } } as const

/** Somebody who asks, and what is theirs; what they may do is written out here, and asked nowhere. */
export type Asker = {
  readonly name: string
  readonly key: Owner
  readonly headers: Readonly<Record<string, string>>
  readonly reaches: readonly Owner[]
  readonly mayChange: boolean
  /** Where the images of its batches lie that name a prefix. */
  readonly imagesBelow: string
}

function keyed(key: Exclude<Owner, null>, rights: Omit<Asker, 'name' | 'key' | 'headers'>): Asker {
  return { name: key, key, headers: { authorization: `Bearer dk_${key}` }, ...rights }
}

export const withKeys: readonly Asker[] = [
  keyed('studio', { reaches: ['studio'], mayChange: true, imagesBelow: '~studio/' }),
  keyed('agency', { reaches: ['agency'], mayChange: true, imagesBelow: '~agency/' }),
  keyed('wall', { reaches: ['wall'], mayChange: false, imagesBelow: '~wall/' }),
  keyed('ops', { reaches: owners, mayChange: true, imagesBelow: '' }),
]

/** The user of this machine, where no keys are set. */
export const withoutKeys: readonly Asker[] = [
  { name: 'local', key: null, headers: {}, reaches: owners, mayChange: true, imagesBelow: '' },
]

export type Asked = {
  readonly params?: Readonly<Record<string, string>>
  readonly query?: string
  readonly json?: unknown
  readonly form?: FormData
  readonly headers?: Readonly<Record<string, string>>
  readonly method?: string
}

export type Answer = {
  readonly status: number
  readonly headers: any
  readonly text: string
  readonly json: () => any
}

export type Service = Awaited<ReturnType<typeof startService>>

/** The service as Azure starts it, with the keys or with none, on a storage and beside a deployment of its own. */
export async function startService({ isKeyed }: { readonly isKeyed: boolean }) {
  const azurite = await startAzurite({})
  const deployment = await startDeployment({
    rpm: 600,
    latencyMs: { min: 1, max: 5 },
    pictures: 'plain',
  })
  vi.stubEnv('AzureWebJobsStorage', azurite.connectionString)
  vi.stubEnv('AZURE_OPENAI_ENDPOINT', deployment.endpoint)
  vi.stubEnv('AZURE_OPENAI_API_KEY', deployment.apiKey)
  vi.stubEnv('IMAGE_RPM', '600')
  if (isKeyed) {
    const keys = Object.entries(keyOptions).map(([name, options]) => [
      name,
      { sha256: createHash('sha256').update(`dk_${name}`).digest('hex'), ...options },
    ])
    vi.stubEnv('DARKROOM_API_KEYS', JSON.stringify(Object.fromEntries(keys)))
  }
  // It logs what it refuses, which is what is asked here.
  for (const level of ['info', 'warn'] as const) vi.spyOn(console, level).mockImplementation(() => {})
  const library = await startLibrary(async () => import('../../../src/functions/index.ts'))
  const context = await openContext()

  async function ask(asker: Pick<Asker, 'headers'>, name: string, asked: Asked = {}): Promise<Answer> {
    const route = routes.find((each) => each.name === name)
    if (route === undefined) throw new Error(`there is no route ${name}`)
    const { params = {}, query = '', json, form, method = route.method } = asked
    const encoded = form && new Response(form)
    const path = route.path.replaceAll(/\{(\w+)\}/g, (_, param: string) => params[param] ?? '')
    const body = encoded ? new Uint8Array(await encoded.arrayBuffer()) : json && JSON.stringify(json)
    const contentType = encoded?.headers.get('content-type') ?? (json ? 'application/json' : undefined)
    const call = library.call(name, {
      method,
      path: `/${path}${query}`,
      params,
      headers: { ...(contentType && { 'content-type': contentType }), ...asker.headers, ...asked.headers },
      ...(typeof body === 'string' || body instanceof Uint8Array ? { body } : {}),
    })
    const response = await call.response
    const { text } = await read(response)
    await call.invocation
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      text,
      json: () => JSON.parse(text),
    }
  }

  return {
    context,
    ask,
    ...seeds(context),
    /** All that is stored, but for messages. */
    stored: async (): Promise<readonly string[]> => {
      const rows = ['jobs', 'budget', 'files', 'batches'].map(async (table) => {
        const client = TableClient.fromConnectionString(azurite.connectionString, table, {
          allowInsecureConnection: true,
        })
        const found: string[] = []
        for await (const entity of client.listEntities()) found.push(`${table} ${JSON.stringify(entity)}`)
        return found
      })
      const service = BlobServiceClient.fromConnectionString(azurite.connectionString)
      const blobs = ['images', 'files', 'inputs'].map(async (container) => {
        const found: string[] = []
        const client = service.getContainerClient(container)
        if (!(await client.exists())) throw new Error(`there is no container ${container}`)
        for await (const { name, properties } of client.listBlobsFlat({ includeUncommitedBlobs: true })) {
          found.push(`${container} ${name} ${properties.etag}`)
        }
        return found
      })
      return (await Promise.all([...rows, ...blobs])).flat()
    },
    stop: async () => {
      await library.stop()
      await deployment.stop()
      await azurite.stop()
      vi.restoreAllMocks()
      vi.unstubAllEnvs()
    },
  }
}

/** What belongs to somebody, made without asking the service. */
function seeds(context: Context) {
  let made = 0
  const newName = (owner: Owner): string => `${owner ?? 'queue'}-${(made += 1)}`
  const callerOf = (key: Owner): Caller =>
    key === null ? localCaller : { key, isAdmin: key === 'ops', isReadOnly: false }

  async function job(owner: Owner, fields: object = {}): Promise<Job> {
    const wish = { prompt: 'a fox', batch: newName(owner), custom_id: 'fox', ...fields }
    const text = JSON.stringify(wish)
    if (owner === null) {
      return (await takeMessage(context, { text, messageId: newName(owner), insertedAt: undefined })).job
    }
    const asked = { text, idempotencyKey: undefined, requestId: newName(owner), caller: callerOf(owner) }
    const taken = await takeRequest(context, asked)
    if (taken.kind === 'invalid') throw new Error(taken.fault.message)
    return taken.job
  }

  /** The job with a slot that is near, however many wait before it. */
  async function slotted(ref: JobRef): Promise<JobSnapshot> {
    const snapshot = (await context.jobs.get(ref))!
    const { priority, upperMicroUsd, phase } = snapshot.job
    if (phase.kind === 'slotted') return snapshot
    if (phase.kind !== 'waiting') throw new Error(`it is ${phase.kind}`)
    const { quota, deployments } = context.pools[0]!.quotas[0]!
    const { deployment } = deployments[0]!
    const place = { dueAt: phase.dueAt, priority, upperMicroUsd, slotAt: Date.now() + 700 }
    await context.jobs.slot({ grants: [{ ...ref, ...place, quota, deployment }], capMicroUsd: null })
    return (await context.jobs.get(ref))!
  }

  /** As the worker does; answers the images' places. */
  async function run(ref: JobRef): Promise<readonly string[]> {
    const { quota, deployments } = context.pools[0]!.quotas[0]!
    const at = { quota, deployment: deployments[0]!.deployment, epoch: Number.MAX_SAFE_INTEGER }
    return vi.waitFor(
      async () => {
        const { pool, slotAt } = (await slotted(ref)).job
        // A machine that is slow misses the slot, and takes another.
        const message = { ...ref, ...at, pool, slotAt: slotAt ?? 0, wakeAt: Date.now() }
        expect((await runJob(context, message)).kind).toBe('succeeded')
        const { phase } = (await context.jobs.get(ref))!.job
        return phase.kind === 'succeeded' ? phase.images.map(({ blob }) => blob) : []
      },
      { timeout: 30_000 },
    )
  }

  /** Without waiting for its slot. */
  async function claim(ref: JobRef): Promise<JobSnapshot> {
    const held = await slotted(ref)
    const now = Date.now()
    const running = claimed(held.job, { slotAt: now, deployment: 'images', leaseUntil: now + 90_000 })!
    return (await context.jobs.change(held, running))!
  }

  return {
    newName,
    job,
    run,
    doneJob: async (owner: Owner): Promise<Job> => {
      const { job: running, version } = await claim(await job(owner))
      const facts = { attempt: 1, usage, requestId: 'r', finishedAt: Date.now() }
      const picture = { bytes: png(), contentType: 'image/png', extension: 'png', width: 64, height: 64 }
      const images = await context.images.save({ job: running, facts, images: [picture] })
      const end = succeeded(running, { finishedAt: facts.finishedAt, images, usage, costMicroUsd: 1 })!
      return (await context.jobs.change({ job: running, version }, end))!.job
    },
    failedJob: async (owner: Owner): Promise<Job> => {
      const running = await claim(await job(owner))
      const failure = { kind: 'transient', code: 'transient', message: 'no' } as const
      const end = failed(running.job, { finishedAt: Date.now(), failure })!
      return (await context.jobs.change(running, end))!.job
    },
    file: async (owner: Owner, content: string | Uint8Array, purpose: FilePurpose): Promise<string> => {
      const bytes = Buffer.from(content)
      const kept = await context.files.keep({ content: chunks(bytes), sizeBytesMax: bytes.length })
      if (kept.kind === 'too-large') throw new Error('it is too large')
      const filename = `${newName(owner)}.jsonl`
      return (await kept.record({ owner, filename, purpose, expiresAfterMs: null })).id
    },
    upload: async (owner: Owner): Promise<string> => {
      const facts = { filename: 'lines.jsonl', purpose: 'batch', sizeBytes: 3 } as const
      return (await context.uploads.open({ owner, ...facts, fileExpiresAfterMs: null })).id
    },
    part: async (id: string): Promise<string> => {
      const staged = await context.uploads.stage({ id, content: chunks(Buffer.from('abc')) })
      const recorded = staged?.kind === 'staged' ? await staged.record() : undefined
      if (recorded?.kind !== 'added') throw new Error('the part was not taken')
      return recorded.part.id
    },
    /** The first job of a batch, once there is one. */
    firstOf: async (batch: string): Promise<JobRef> => {
      return vi.waitUntil(async () => (await context.jobs.list({ batch, limit: 1 }))[0], {
        timeout: 20_000,
        interval: 50,
      })
    },
  }
}

async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
