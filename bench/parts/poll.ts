import type { Bench } from '../bench.ts'
import { batchCounts, putJobs } from '../jobs.ts'
import { getJson } from '../json.ts'
import { untilDone } from '../progress.ts'
import { decimal, quantile, type Report } from '../report.ts'
import { World } from '../world.ts'

const slowRpm = 1

const ratioMax = 1.3

export async function poll({ isQuick }: Bench): Promise<Report> {
  const { small, large, samples } = isQuick
    ? { small: 100, large: 2_000, samples: 200 }
    : { small: 100, large: 10_000, samples: 500 }
  await using world = new World()
  const storage = await world.storage()
  const deployment = await world.deployment({ rpm: slowRpm, latencyMs: { min: 1_000, max: 1_000 } })
  const [host] = await world.hosts(1, { storage, deployment, rpm: slowRpm })
  if (host === undefined) throw new Error('there is no host')
  const batches = [
    { batch: 'small', jobs: small, tookMs: [] as number[] },
    { batch: 'large', jobs: large, tookMs: [] as number[] },
  ]
  for (const { batch, jobs } of batches) {
    await putJobs(storage.connectionString, { batch, count: jobs })
    await untilDone(
      { what: `poll, registering ${jobs}`, total: jobs, everyMs: 500, limitMs: 180_000 },
      async () => (await batchCounts(host, batch)).total,
    )
  }
  // The first tenth warms up connections and code, and is thrown away.
  let done = -samples / 10
  await untilDone({ what: 'poll, samples', total: samples, everyMs: 0, limitMs: 120_000 }, async () => {
    for (const { batch, tookMs } of batches) {
      const startedAt = performance.now()
      await getJson(`${host.url}/v1/batches/${batch}`)
      if (done >= 0) tookMs.push(performance.now() - startedAt)
    }
    done += 1
    return Math.max(0, done)
  })
  const [first = Number.NaN, second = Number.NaN] = batches.map(({ tookMs }) => quantile(tookMs, 0.5))
  const ratio = second / first
  return {
    title: 'Poll',
    method: `\`GET /v1/batches/{name}\` on one host, ${samples} samples of each batch in turn; its jobs are registered and wait.`,
    tables: [
      {
        head: ['jobs in the batch', 'median ms', 'p99 ms'],
        rows: batches.map(({ jobs, tookMs }) => [
          String(jobs),
          decimal(quantile(tookMs, 0.5), 2),
          decimal(quantile(tookMs, 0.99), 2),
        ]),
      },
    ],
    gates: [
      {
        name: `a poll of ${large} jobs over one of ${small}`,
        found: `${decimal(ratio, 2)} times`,
        wanted: `at most ${ratioMax}`,
        isPassed: ratio <= ratioMax,
      },
    ],
    remarks: [],
  }
}
