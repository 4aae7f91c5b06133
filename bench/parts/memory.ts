import { measureWorker } from '../../src/local/processes.ts'
import type { Bench } from '../bench.ts'
import { batchCounts, putJobs } from '../jobs.ts'
import { isNoAnswer } from '../json.ts'
import { pause, untilDone } from '../progress.ts'
import { decimal, percent, type Report } from '../report.ts'
import { World, type Host } from '../world.ts'

/** As fast as one host goes with what host.json lets it have in hand, most of it held for the lead. */
const fastRpm = 800

/** What a heap that does not grow still moves by, from one collection to the next. */
const tolerance = 0.1

/** The whole part ends within it, whatever the host does. */
const limitMs = 570_000

type Found = {
  readonly wanted: number
  readonly succeeded: number
  readonly minutes: number
  /** Undefined when the host gave no answer. */
  readonly memory: Memory | undefined
}

type Memory = { readonly rssBytes: number; readonly heapBytes: number }

export async function memory({ isQuick }: Bench): Promise<Report> {
  const steps = isQuick ? [200, 600] : [1_000, 5_000]
  const startedAt = performance.now()
  const endsAt = startedAt + limitMs
  await using world = new World()
  const storage = await world.storage()
  const deployment = await world.deployment({ rpm: fastRpm, latencyMs: { min: 50, max: 50 } })
  const [host] = await world.hosts(1, { storage, deployment, rpm: fastRpm })
  if (host === undefined) throw new Error('there is no host')
  const found: Found[] = []
  for (const wanted of steps) {
    const before = found.at(-1)?.wanted ?? 0
    const batch = `memory-${wanted}`
    await putJobs(storage.connectionString, { batch, count: wanted - before, from: before })
    const done = await finishedInTime(host, { batch, jobs: wanted - before, endsAt })
    const minutes = (performance.now() - startedAt) / 60_000
    found.push({ wanted, succeeded: before + done, minutes, memory: await atRest(host) })
    if (before + done < wanted) break
  }
  return reportOf(found, steps)
}

/** How many succeeded, all or not. An overloaded host is asked again. */
async function finishedInTime(
  host: Host,
  { batch, jobs, endsAt }: { batch: string; jobs: number; endsAt: number },
): Promise<number> {
  let succeeded = 0
  await untilDone(
    { what: `memory, ${batch}`, total: jobs, everyMs: 1_000, limitMs: limitMs + 60_000 },
    async () => {
      try {
        succeeded = (await batchCounts(host, batch)).succeeded
      } catch (error) {
        if (!isNoAnswer(error)) throw error
      }
      return performance.now() > endsAt || host.child.hasEnded() ? jobs : succeeded
    },
  )
  return succeeded
}

const restSamples = 5
const answerLimitMs = 5_000

/** The least of some samples: connections and timers of the last jobs end within seconds. */
async function atRest(host: Host): Promise<Memory | undefined> {
  const samples = []
  for (let sample = 0; sample < restSamples; sample += 1) {
    await pause(1_000)
    try {
      samples.push(await measureWorker(host.child, answerLimitMs))
    } catch (error) {
      // It answers between two turns of its event loop, or not at all.
      if (!(error instanceof Error && ['AbortError', 'ERR_IPC_CHANNEL_CLOSED'].includes(nameOf(error))))
        throw error
    }
  }
  if (samples.length === 0) return undefined
  return {
    rssBytes: Math.min(...samples.map(({ rss }) => rss)),
    heapBytes: Math.min(...samples.map(({ heapUsed }) => heapUsed)),
  }
}

function nameOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' && error.code.startsWith('ERR_IPC')
    ? error.code
    : error.name
}

function reportOf(found: readonly Found[], steps: readonly number[]): Report {
  const [early, late] = found
  const growth =
    early?.memory === undefined || late?.memory === undefined
      ? undefined
      : late.memory.rssBytes / early.memory.rssBytes - 1
  const isWhole = found.length === steps.length && found.every(({ wanted, succeeded }) => succeeded >= wanted)
  return {
    title: 'Memory',
    method:
      `One host at rest, after a garbage collection, when it had finished so many jobs (at ${fastRpm} RPM, latency 50 ms). The ` +
      `part ends after ${decimal(limitMs / 60_000)} minutes.`,
    tables: [
      {
        head: ['jobs finished', 'after minutes', 'resident MiB', 'heap in use MiB'],
        rows: found.map(({ wanted, succeeded, minutes, memory }) => [
          succeeded === wanted ? String(wanted) : `${succeeded} of ${wanted}`,
          decimal(minutes),
          memory === undefined ? 'no answer' : mebibytes(memory.rssBytes),
          memory === undefined ? 'no answer' : mebibytes(memory.heapBytes),
        ]),
      },
    ],
    gates: [
      {
        name: 'the host finished its jobs in time',
        found: found.map(({ wanted, succeeded }) => `${succeeded} of ${wanted}`).join(', '),
        wanted: steps.join(', '),
        isPassed: isWhole,
      },
      {
        name: `resident memory after ${steps[1]} jobs over that after ${steps[0]}`,
        found: growth === undefined ? 'not measured' : percent(growth),
        wanted: `no growth (within ${percent(tolerance)})`,
        isPassed: isWhole && growth !== undefined && growth <= tolerance,
      },
    ],
    remarks: [],
  }
}

function mebibytes(bytes: number): string {
  return decimal(bytes / 2 ** 20)
}
