import { z } from 'zod'
import { pause, untilDone } from './progress.ts'
import { decimal, percent, type Report } from './report.ts'
import { batchCounts, putJobs, World, type Host } from './world.ts'

/** As fast as one host goes with what host.json lets it have in hand, most of it held for the lead. */
const fastRpm = 800

/** What a heap that does not grow still moves by, from one collection to the next. */
const tolerance = 0.1

type Memory = { readonly jobs: number; readonly rssBytes: number; readonly heapBytes: number }

export async function memory(sizes: { readonly early: number; readonly late: number }): Promise<Report> {
  await using world = new World()
  const storage = await world.storage()
  const deployment = await world.deployment({ rpm: fastRpm, latencyMs: '50' })
  const [host] = await world.hosts(1, { storage, deployment, rpm: fastRpm })
  if (host === undefined) throw new Error('there is no host')
  const found: Memory[] = []
  for (const jobs of [sizes.early, sizes.late]) {
    const before = found.at(-1)?.jobs ?? 0
    const batch = `memory-${jobs}`
    await putJobs(storage.connectionString, { batch, count: jobs - before, from: before })
    await untilDone(
      { what: `memory, ${jobs} jobs`, total: jobs - before, everyMs: 1_000, limitMs: 600_000 },
      async () => (await batchCounts(host, batch)).succeeded,
    )
    found.push({ jobs, ...(await atRest(host)) })
  }
  const [early, late] = found
  if (early === undefined || late === undefined) throw new Error('memory was not measured twice')
  const growth = late.rssBytes / early.rssBytes - 1
  return {
    title: 'Memory',
    method: `One host at rest, after a garbage collection, when it had finished so many jobs (at ${fastRpm} RPM, latency 50 ms).`,
    tables: [
      {
        head: ['jobs finished', 'resident MiB', 'heap in use MiB'],
        rows: found.map(({ jobs, rssBytes, heapBytes }) => [
          String(jobs),
          mebibytes(rssBytes),
          mebibytes(heapBytes),
        ]),
      },
    ],
    gates: [
      {
        name: `resident memory after ${late.jobs} jobs over that after ${early.jobs}`,
        found: percent(growth),
        wanted: `no growth (within ${percent(tolerance)})`,
        isPassed: growth <= tolerance,
      },
    ],
    remarks: [],
  }
}

const memorySchema = z.object({ rss: z.number(), heapUsed: z.number() })

const restSamples = 5

/** The least of some samples: connections and timers of the last jobs end within seconds. */
async function atRest(host: Host): Promise<{ rssBytes: number; heapBytes: number }> {
  const samples = []
  for (let sample = 0; sample < restSamples; sample += 1) {
    await pause(1_000)
    samples.push(memorySchema.parse(await host.child.ask('memory')))
  }
  return {
    rssBytes: Math.min(...samples.map(({ rss }) => rss)),
    heapBytes: Math.min(...samples.map(({ heapUsed }) => heapUsed)),
  }
}

function mebibytes(bytes: number): string {
  return decimal(bytes / 2 ** 20)
}
