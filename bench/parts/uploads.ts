import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import OpenAI, { toFile } from 'openai'
import { measureWorker } from '../../src/local/processes.ts'
import type { Bench } from '../bench.ts'
import { decimal, type Report } from '../report.ts'
import { World, type Host } from '../world.ts'
import { peakMib } from './batches.ts'

const mib = 1024 * 1024

/** What the documents recommend; what OpenAI's clients send unasked. */
const ways = [
  { partMib: 16, atOnce: 1 },
  { partMib: 16, atOnce: 4 },
  { partMib: 64, atOnce: 1 },
] as const

/** As of a batch's file. */
const peakMibMax = 250

type Found = (typeof ways)[number] & {
  readonly sizeMib: number
  readonly seconds: number
  readonly beforeMib: number
  readonly peakMib: number
  readonly restMib: number
}

export async function uploads({ isQuick }: Bench): Promise<Report> {
  const sizeMib = isQuick ? 40 : 200
  await using world = new World()
  const storage = await world.storage()
  const deployment = await world.deployment({ rpm: 60, latencyMs: { min: 1_000, max: 1_000 } })
  const [host] = await world.hosts(1, { storage, deployment, rpm: 60 })
  if (host === undefined) throw new Error('there is no host')
  // The first upload loads what all of them need.
  await uploaded(host, fileOf(8), { partMib: 4, atOnce: 1 })
  const bytes = fileOf(sizeMib)
  const found: Found[] = []
  for (const way of ways) {
    const beforeMib = await residentMib(host)
    await forgetPeak(host)
    const startedAt = performance.now()
    await uploaded(host, bytes, way)
    const seconds = (performance.now() - startedAt) / 1_000
    const peak = await peakMib(host)
    found.push({ ...way, sizeMib, seconds, beforeMib, peakMib: peak, restMib: await residentMib(host) })
  }
  return reportOf(found)
}

/** Lines of a batch, as far as the memory of who sends them goes: it is not measured. */
function fileOf(sizeMib: number): Buffer<ArrayBuffer> {
  const line = `${JSON.stringify({ custom_id: 'fox', method: 'POST', url: '/v1/images/generations', body: { prompt: 'A fox' } })}\n`
  return Buffer.alloc(sizeMib * mib, line)
}

/** By the openai package's own uploads, with the sum, so that all of it is read back. */
async function uploaded(
  host: Host,
  bytes: Buffer<ArrayBuffer>,
  { partMib, atOnce }: { readonly partMib: number; readonly atOnce: number },
): Promise<void> {
  const client = new OpenAI({ baseURL: `${host.url}/v1`, apiKey: 'none' })
  const upload = await client.uploads.create({
    bytes: bytes.length,
    filename: 'lines.jsonl',
    mime_type: 'application/jsonl',
    purpose: 'batch',
  })
  const ids: string[] = []
  const starts = Array.from({ length: Math.ceil(bytes.length / (partMib * mib)) }, (_, index) => index)
  const left = starts.values()
  const send = async (): Promise<void> => {
    for (const index of left) {
      const part = bytes.subarray(index * partMib * mib, (index + 1) * partMib * mib)
      const { id } = await client.uploads.parts.create(upload.id, { data: await toFile(part, 'part') })
      ids[index] = id
    }
  }
  await Promise.all(Array.from({ length: atOnce }, send))
  const md5 = createHash('md5').update(bytes).digest('hex')
  const { status, file } = await client.uploads.complete(upload.id, { part_ids: ids, md5 })
  if (status !== 'completed' || file?.bytes !== bytes.length)
    throw new Error(`the upload is ${status}, of ${file?.bytes} bytes`)
  await client.files.delete(file.id)
}

async function residentMib({ child }: Host): Promise<number> {
  return (await measureWorker(child)).rss / mib
}

/** What Linux calls the most that was ever resident counts from now on. */
async function forgetPeak({ child }: Host): Promise<void> {
  const { pid } = await measureWorker(child)
  await writeFile(`/proc/${pid}/clear_refs`, '5')
}

function reportOf(found: readonly Found[]): Report {
  return {
    title: 'Uploads',
    method:
      "A batch file sent to one host by the `openai` package's own uploads, in parts, completed with its md5. Memory is that " +
      'of the process that runs the functions: at rest before, the most while the file came (VmHWM), and at rest after.',
    tables: [
      {
        head: [
          'file MiB',
          'part MiB',
          'at once',
          'seconds',
          'MiB a second',
          'before MiB',
          'peak MiB',
          'after MiB',
        ],
        rows: found.map((one) => [
          String(one.sizeMib),
          String(one.partMib),
          String(one.atOnce),
          decimal(one.seconds),
          decimal(one.sizeMib / one.seconds, 0),
          decimal(one.beforeMib, 0),
          decimal(one.peakMib, 0),
          decimal(one.restMib, 0),
        ]),
      },
    ],
    gates: found.map(({ partMib, atOnce, peakMib: peak }) => ({
      name: `parts of ${partMib} MiB, ${atOnce} at once: peak MiB of the host`,
      found: decimal(peak, 0),
      wanted: `under ${peakMibMax}`,
      isPassed: peak < peakMibMax,
    })),
    remarks: [],
  }
}
