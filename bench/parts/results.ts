import { createHash, randomBytes } from 'node:crypto'
import { connectStorage } from '../../src/storage/connection.ts'
import { azureTable } from '../../src/storage/tables/azure-table.ts'
import { azureImageStore } from '../../src/storage/blobs/images.ts'
import { batchTable } from '../../src/storage/tables/batch-table.ts'
import { jobTable } from '../../src/storage/tables/job-table.ts'
import { type Image, type Job, newJob } from '../../src/core/jobs/job.ts'
import { plainTerms } from '../../src/core/budget/fairness.ts'
import type { Clock } from '../../src/ports/clock.ts'
import type { BatchTable } from '../../src/ports/batches.ts'
import type { Bench } from '../bench.ts'
import { untilDone } from '../progress.ts'
import { decimal, type Report } from '../report.ts'
import { promptOf } from '../work.ts'
import { World, type Host, type Storage } from '../world.ts'
import { peakMib } from './batches.ts'

const peakMibMax = 250

type Found = {
  readonly what: string
  readonly mib: number
  readonly seconds: number
  readonly peakMib: number
}

/** Each download has a host of its own, so that the most it ever held is that download's. */
export async function results({ isQuick }: Bench): Promise<Report> {
  const { jobs, pictures } = isQuick ? { jobs: 2_000, pictures: 32 } : { jobs: 100_000, pictures: 512 }
  await using world = new World()
  const storage = await world.storage()
  const many = await makeBatch(storage, { batch: 'many', jobs, pictureBytes: 0 })
  const large = await makeBatch(storage, { batch: 'large', jobs: pictures, pictureBytes: 4 * 1024 * 1024 })
  const found = [
    await downloaded(storage, `${many} jobs as JSON lines`, 'many/results'),
    await downloaded(storage, `${many} jobs as CSV`, 'many/results?format=csv'),
    await downloaded(storage, `${large} images of 4 MiB as a ZIP`, 'large/results?format=zip'),
    await downloaded(storage, `${large} images of 4 MiB inline`, 'large/results?images=b64'),
  ]
  return {
    title: 'Results',
    method:
      'Downloads of a finished batch, each from a host that was just started. Memory is the most that the process ever had ' +
      'resident (VmHWM), with its start.',
    tables: [
      {
        head: ['download', 'MiB', 'seconds', 'MiB a second', 'peak MiB'],
        rows: found.map((one) => [
          one.what,
          decimal(one.mib, 0),
          decimal(one.seconds),
          decimal(one.mib / one.seconds, 0),
          decimal(one.peakMib, 0),
        ]),
      },
    ],
    gates: found.map((one) => ({
      name: `${one.what}: peak MiB of the host`,
      found: decimal(one.peakMib, 0),
      wanted: `under ${peakMibMax}`,
      isPassed: one.peakMib < peakMibMax,
    })),
    remarks: [],
  }
}

async function downloaded(storage: Storage, what: string, path: string): Promise<Found> {
  await using world = new World()
  const deployment = await world.deployment({ rpm: 60, latencyMs: { min: 1_000, max: 1_000 } })
  const [host] = await world.hosts(1, { storage, deployment, rpm: 60 })
  if (host === undefined) throw new Error('there is no host')
  const startedAt = performance.now()
  const bytes = await sizeOf(host, `/v1/batches/${path}`)
  const seconds = (performance.now() - startedAt) / 1_000
  return { what, mib: bytes / 2 ** 20, seconds, peakMib: await peakMib(host) }
}

async function sizeOf({ url }: Host, path: string): Promise<number> {
  const response = await fetch(`${url}${path}`)
  if (!response.ok || response.body === null) throw new Error(`${path} answered ${response.status}`)
  let bytes = 0
  for await (const chunk of response.body) bytes += chunk.length
  return bytes
}

const usage = { inputTokens: 20, outputTokens: 272, inputTextTokens: 20, inputImageTokens: 0 }

/** A batch whose jobs have all succeeded, written as the pipeline would; answers how many. */
async function makeBatch(
  { connectionString }: Storage,
  {
    batch,
    jobs,
    pictureBytes,
  }: { readonly batch: string; readonly jobs: number; readonly pictureBytes: number },
): Promise<number> {
  const connection = await connectStorage({ kind: 'connection-string', connectionString }, async () => {
    throw new Error('the benchmark has a key')
  })
  const client = connection.table('jobs')
  await client.createTable()
  await connection.blobs.getContainerClient('images').createIfNotExists()
  const images = azureImageStore(connection, present)
  const rows = azureTable(client)
  const table = jobTable(rows, { chance: Math.random, newId: idOf(), clock: present })
  await open(batchTable(rows), batch)
  let made = 0
  const rest = Array.from({ length: jobs }, (_, index) => index).values()
  await Promise.all(
    Array.from({ length: pictureBytes === 0 ? 196 : 4 }, async () => {
      for (const index of rest) {
        const key = `article-${String(index).padStart(6, '0')}`
        const picture = pictureBytes === 0 ? [] : [pictureOf(pictureBytes)]
        const facts = { attempt: 1, usage, requestId: 'request', finishedAt: Date.now() }
        const saved =
          picture.length === 0
            ? [imageOf(`${batch}/${key}-0.png`)]
            : await images.save({ job: { batch, key }, facts, images: picture })
        await table.add(doneJob(batch, key, index, saved))
        made += 1
      }
    }).concat(
      untilDone(
        { what: `results, making ${batch}`, total: jobs, everyMs: 500, limitMs: 400_000 },
        async () => made,
      ).then(() => undefined),
    ),
  )
  return jobs
}

async function open(table: BatchTable, batch: string): Promise<void> {
  const none = { owner: null, order: null, progress: null, workedOnUntil: 0 }
  await table.openBatch({ batch, pool: 'default', createdAt: Date.now(), terms: plainTerms, ...none })
}

function doneJob(batch: string, key: string, index: number, images: readonly Image[]): Job {
  const names = { batch, key, pool: 'default', customId: key, metadata: null, now: Date.now() }
  const job = newJob({ ...names, request: { prompt: promptOf(index) }, priority: null, upperMicroUsd: 0 })
  return {
    ...job,
    attempts: 1,
    startedAt: job.createdAt,
    requestIds: ['request'],
    phase: { kind: 'succeeded', finishedAt: Date.now() + 9_000, images, usage, costMicroUsd: 10_000 },
  }
}

/** Bytes that no ZIP makes smaller, behind the head of a picture. */
function pictureOf(sizeBytes: number): {
  bytes: Uint8Array
  contentType: string
  extension: string
  width: number
  height: number
} {
  return {
    bytes: randomBytes(sizeBytes),
    contentType: 'image/png',
    extension: '.png',
    width: 1024,
    height: 1024,
  }
}

function imageOf(blob: string): Image {
  const sha256 = createHash('sha256').update(blob).digest('hex')
  return { blob, contentType: 'image/png', sizeBytes: 1_500_000, width: 1024, height: 1024, sha256 }
}

const present: Clock = {
  now: Date.now,
  sleepUntil: async (at) => new Promise((resolve) => setTimeout(resolve, Math.max(0, at - Date.now()))),
}

function idOf(): () => string {
  let count = 0
  return () => `bench-${(count += 1)}`
}
