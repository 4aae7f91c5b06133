import type { Bench } from '../bench.ts'
import { batchCounts, putJobs } from '../jobs.ts'
import { pause, untilDone } from '../progress.ts'
import { decimal, type Report } from '../report.ts'
import { World } from '../world.ts'

/** So slow that the pacer has next to nothing to do. */
const slowRpm = 1

const secondsMax = 30

export async function intake({ isQuick }: Bench): Promise<Report> {
  const jobs = isQuick ? 1_000 : 10_000
  const runs: { readonly hosts: number; readonly seconds: number }[] = []
  for (const hosts of [1, 4]) runs.push({ hosts, seconds: await registerAll(jobs, hosts) })
  const slowest = Math.max(...runs.map(({ seconds }) => seconds))
  return {
    title: 'Intake',
    method:
      'Messages that lie on the queue `image-jobs` before the hosts start; from the moment the first host is ready until the ' +
      'batch counts all of them. Four hosts share two cores with Azurite here, which answers one request at a time.',
    tables: [
      {
        head: ['hosts', 'messages', 'seconds', 'messages a second'],
        rows: runs.map(({ hosts, seconds }) => [
          String(hosts),
          String(jobs),
          decimal(seconds),
          decimal(jobs / seconds, 0),
        ]),
      },
    ],
    gates: [
      {
        name: 'seconds until all are registered, at the most',
        found: decimal(slowest),
        wanted: `under ${secondsMax}`,
        isPassed: slowest < secondsMax,
      },
    ],
    remarks: [],
  }
}

async function registerAll(jobs: number, count: number): Promise<number> {
  await using world = new World()
  const storage = await world.storage()
  const deployment = await world.deployment({ rpm: slowRpm, latencyMs: { min: 1_000, max: 1_000 } })
  await putJobs(storage.connectionString, { batch: 'intake', count: jobs })
  const hosts = await world.hosts(count, { storage, deployment, rpm: slowRpm })
  const [host] = hosts
  if (host === undefined) throw new Error('there is no host')
  const readyAt = Math.min(...hosts.map(({ readyAt }) => readyAt))
  const doneAt = await untilDone(
    { what: `intake, ${count} host(s)`, total: jobs, everyMs: 100, limitMs: 120_000 },
    async () => (await batchCounts(host, 'intake')).total,
  )
  await pause(500)
  return (doneAt - readyAt) / 1_000
}
