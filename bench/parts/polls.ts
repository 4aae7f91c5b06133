import type { Bench } from '../bench.ts'
import { batchCounts, putJobs } from '../jobs.ts'
import { getJson } from '../json.ts'
import { pause, untilDone } from '../progress.ts'
import { decimal, quantile, type Report } from '../report.ts'
import { World, type Host } from '../world.ts'

const rpm = 600
const clients = 16
const batch = 'polled'

type Polls = { readonly perSecond: number; readonly tookMs: readonly number[] }

/** What polls cost one process that has nothing else to do, and one that calls the model ten times a second. */
export async function polls({ isQuick }: Bench): Promise<Report> {
  const forMs = isQuick ? 5_000 : 15_000
  await using world = new World()
  const storage = await world.storage()
  const deployment = await world.deployment({ rpm, latencyMs: { min: 1_000, max: 4_000 } })
  const [host] = await world.hosts(1, { storage, deployment, rpm })
  if (host === undefined) throw new Error('there is no host')
  const jobs = isQuick ? 200 : 600
  await putJobs(storage.connectionString, { batch, count: jobs })
  await untilDone(
    { what: 'polls, ten jobs done', total: 10, everyMs: 200, limitMs: 60_000 },
    async () => (await batchCounts(host, batch)).succeeded,
  )
  const busy = await paced(host, forMs)
  const startsPerMinute = await startsDuring(host)
  await untilDone(
    { what: 'polls, all jobs done', total: jobs, everyMs: 500, limitMs: 180_000 },
    async () => (await batchCounts(host, batch)).succeeded,
  )
  const idle = await asFastAsItGoes(host, forMs)
  const row = (what: string, { perSecond, tookMs }: Polls): string[] => [
    what,
    decimal(perSecond, 0),
    decimal(quantile(tookMs, 0.5), 1),
    decimal(quantile(tookMs, 0.99), 1),
  ]
  return {
    title: 'Polls',
    method:
      `\`GET /v1/batches/{id}\` of one process. At rest: ${clients} clients, each asking again when it is answered. At work: one ` +
      `client, 20 times a second, while ${rpm} RPM are running (${startsPerMinute} starts in the last minute).`,
    tables: [
      {
        head: ['host', 'polls a second', 'median ms', 'p99 ms'],
        rows: [row('at rest', idle), row(`at ${rpm} RPM`, busy)],
      },
    ],
    gates: [],
    remarks: [],
  }
}

async function asFastAsItGoes({ url }: Host, forMs: number): Promise<Polls> {
  const tookMs: number[] = []
  const endsAt = performance.now() + forMs
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() < endsAt) {
        const askedAt = performance.now()
        await getJson(`${url}/v1/batches/${batch}`)
        tookMs.push(performance.now() - askedAt)
      }
    }),
  )
  return { perSecond: tookMs.length / (forMs / 1_000), tookMs }
}

async function paced({ url }: Host, forMs: number): Promise<Polls> {
  const tookMs: number[] = []
  const endsAt = performance.now() + forMs
  while (performance.now() < endsAt) {
    const askedAt = performance.now()
    await getJson(`${url}/v1/batches/${batch}`)
    tookMs.push(performance.now() - askedAt)
    await pause(50)
  }
  return { perSecond: tookMs.length / (forMs / 1_000), tookMs }
}

async function startsDuring({ url }: Host): Promise<number> {
  const text = JSON.stringify(await getJson(`${url}/v1/budget`))
  return Number(/"starts_last_minute":(\d+)/.exec(text)?.[1] ?? Number.NaN)
}
