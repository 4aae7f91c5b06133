import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { measureWorker } from '../../src/local/processes.ts'
import type { Bench } from '../bench.ts'
import { getJson } from '../json.ts'
import { untilDone } from '../progress.ts'
import { decimal, type Report } from '../report.ts'
import { World, type Deployment, type Host } from '../world.ts'

/** A line of some 250 bytes, as catalogs have them. */
function lineOf(index: number): string {
  const prompt = `A photograph of article ${index} on a white table, soft light from the left, no text, high detail`
  const body = { prompt, size: '1024x1024', quality: 'low', n: 1 }
  return JSON.stringify({
    custom_id: `article-${index}`,
    method: 'POST',
    url: '/v1/images/generations',
    body,
  })
}

const rpm = 60

/** What the issue asks for. */
const wanted = { acceptedSeconds: 2, firstStartSeconds: 5, memoryMib: 250 }

type Found = {
  readonly lines: number
  readonly uploadSeconds: number
  readonly acceptedSeconds: number
  readonly registeredSeconds: number
  readonly firstStartSeconds: number
  readonly peakMib: number
}

export async function batches({ isQuick }: Bench): Promise<Report> {
  const steps = isQuick
    ? [{ lines: 2_000, limitSeconds: 10 }]
    : [
        { lines: 10_000, limitSeconds: 10 },
        { lines: 100_000, limitSeconds: 100 },
      ]
  const found: (Found & { readonly limitSeconds: number })[] = []
  for (const { lines, limitSeconds } of steps) found.push({ ...(await registered(lines)), limitSeconds })
  return {
    title: 'Batch files',
    method:
      `A file of lines of some 250 bytes, uploaded, then \`POST /v1/batches\` to one host at ${rpm} RPM. Accepted: until the ` +
      'batch is answered; first start: until the deployment has its first request; registered: until all its lines are jobs. ' +
      'Memory is the most that the process ever had resident (VmHWM), with its start.',
    tables: [
      {
        head: [
          'lines',
          'upload s',
          'accepted s',
          'first start s',
          'registered s',
          'lines a second',
          'peak MiB',
        ],
        rows: found.map((one) => [
          String(one.lines),
          decimal(one.uploadSeconds, 2),
          decimal(one.acceptedSeconds, 2),
          decimal(one.firstStartSeconds),
          decimal(one.registeredSeconds),
          decimal(one.lines / one.registeredSeconds, 0),
          decimal(one.peakMib, 0),
        ]),
      },
    ],
    gates: found.flatMap((one) => [
      gate(`${one.lines} lines: seconds until accepted`, one.acceptedSeconds, wanted.acceptedSeconds),
      gate(
        `${one.lines} lines: seconds until the first start`,
        one.firstStartSeconds,
        wanted.firstStartSeconds,
      ),
      gate(`${one.lines} lines: seconds until registered`, one.registeredSeconds, one.limitSeconds),
      gate(`${one.lines} lines: peak MiB of the host`, one.peakMib, wanted.memoryMib),
    ]),
    remarks: [],
  }
}

function gate(name: string, value: number, bound: number): Report['gates'][number] {
  return { name, found: decimal(value, 2), wanted: `under ${bound}`, isPassed: value < bound }
}

async function registered(lines: number): Promise<Found> {
  await using world = new World()
  const storage = await world.storage()
  const deployment = await world.deployment({ rpm, latencyMs: { min: 2_000, max: 4_000 } })
  const [host] = await world.hosts(1, { storage, deployment, rpm })
  if (host === undefined) throw new Error('there is no host')
  const text = Array.from({ length: lines }, (_, index) => lineOf(index)).join('\n')
  const uploadedAt = performance.now()
  const fileId = await upload(host, text)
  const postedAt = performance.now()
  const postedTime = Date.now()
  const id = await submit(host, fileId)
  const acceptedAt = performance.now()
  let firstStart: number | undefined
  const registeredAt = await untilDone(
    { what: `batches, ${lines} lines`, total: lines, everyMs: 250, limitMs: 300_000 },
    async () => {
      firstStart ??= await firstRequestAt(deployment)
      return waitingOf(host, id)
    },
  )
  await untilDone({ what: 'batches, first start', total: 1, everyMs: 100, limitMs: 60_000 }, async () => {
    firstStart ??= await firstRequestAt(deployment)
    return firstStart === undefined ? 0 : 1
  })
  return {
    lines,
    uploadSeconds: (postedAt - uploadedAt) / 1_000,
    acceptedSeconds: (acceptedAt - postedAt) / 1_000,
    registeredSeconds: (registeredAt - postedAt) / 1_000,
    firstStartSeconds: ((firstStart ?? Infinity) - postedTime) / 1_000,
    peakMib: await peakMib(host),
  }
}

const idSchema = z.object({ id: z.string() })

export async function upload(host: Host, text: string): Promise<string> {
  const form = new FormData()
  form.set('purpose', 'batch')
  form.set('file', new Blob([text]), 'lines.jsonl')
  return idOf(await fetch(`${host.url}/v1/files`, { method: 'POST', body: form }))
}

export async function submit(host: Host, fileId: string): Promise<string> {
  const body = { input_file_id: fileId, endpoint: '/v1/images/generations', completion_window: '24h' }
  return idOf(await fetch(`${host.url}/v1/batches`, { method: 'POST', body: JSON.stringify(body) }))
}

async function idOf(response: Response): Promise<string> {
  if (!response.ok) throw new Error(`the host answered ${response.status}: ${await response.text()}`)
  return idSchema.parse(await response.json()).id
}

const countersSchema = z.object({
  status: z.string(),
  progress: z.object({ registered: z.number(), total: z.number() }).nullable(),
})

/** Lines that are jobs, by the batch's own word. */
async function waitingOf(host: Host, id: string): Promise<number> {
  const { progress } = countersSchema.parse(await getJson(`${host.url}/v1/batches/${id}`))
  return progress?.registered ?? 0
}

async function firstRequestAt(deployment: Deployment): Promise<number | undefined> {
  return (await deployment.log())[0]?.receivedAt
}

/** The most that the process that runs the functions ever had resident, as Linux counts it. */
export async function peakMib({ child }: Host): Promise<number> {
  const { pid } = await measureWorker(child)
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1_024
}
