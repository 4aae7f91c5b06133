import type { Bench } from '../bench.ts'
import { batchCounts, putJobs } from '../jobs.ts'
import { emptyPoll } from '../operation-kinds.ts'
import { pause, untilDone } from '../progress.ts'
import { decimal, type Report } from '../report.ts'
import { answered } from '../requests.ts'
import { latencyMs } from '../work.ts'
import { World } from '../world.ts'

const rpm = 600

const operationsMax = 8

type Counted = {
  readonly hosts: number
  readonly counts: Readonly<Record<string, number>>
  readonly jobs: number
}

export async function operations({ isQuick }: Bench): Promise<Report> {
  const jobs = isQuick ? 100 : 300
  const runs: Counted[] = []
  for (const hosts of [1, 4]) runs.push({ hosts, jobs, counts: await count(jobs, hosts) })
  const kinds = [...new Set(runs.flatMap(({ counts }) => Object.keys(counts)))].filter(
    (kind) => kind !== emptyPoll,
  )
  const perJob = (run: Counted, kind: string): string => decimal((run.counts[kind] ?? 0) / run.jobs, 2)
  return {
    title: 'Operations',
    method:
      `Storage operations of ${jobs} jobs at ${rpm} RPM, from the first message to the last completion, counted by a proxy before ` +
      'Azurite; a transaction is one operation. The message that the producer sends is among them, polls that find nothing are not: ' +
      'they depend on time, not on jobs.',
    tables: [
      {
        head: ['operation', ...runs.map(({ hosts }) => `a job, ${hosts} host${hosts === 1 ? '' : 's'}`)],
        rows: [
          ...kinds.sort().map((kind) => [kind, ...runs.map((run) => perJob(run, kind))]),
          ['all of them', ...runs.map((run) => decimal(total(run) / run.jobs, 2))],
          [`(${emptyPoll})`, ...runs.map((run) => perJob(run, emptyPoll))],
        ],
      },
    ],
    gates: runs.map((run) => ({
      name: `operations a job, ${run.hosts} host${run.hosts === 1 ? '' : 's'}`,
      found: decimal(total(run) / run.jobs, 2),
      wanted: `at most ${operationsMax}`,
      isPassed: total(run) / run.jobs <= operationsMax,
    })),
    remarks: [],
  }
}

function total({ counts }: Counted): number {
  return Object.entries(counts).reduce((sum, [kind, count]) => (kind === emptyPoll ? sum : sum + count), 0)
}

async function count(jobs: number, hostCount: number): Promise<Readonly<Record<string, number>>> {
  await using world = new World()
  const storage = await world.countedStorage()
  const deployment = await world.deployment({ rpm, latencyMs })
  const hosts = await world.hosts(hostCount, { storage, deployment, rpm })
  // Each host has made its tables, queues and container before the count begins: that is paid once an instance.
  for (const host of hosts) await batchCounts(host, 'operations')
  await pause(1_000)
  await storage.takeCounts()
  await putJobs(storage.connectionString, { batch: 'operations', count: jobs })
  await untilDone(
    {
      what: `operations, ${hostCount} host(s)`,
      total: jobs,
      everyMs: 1_000,
      limitMs: (jobs / rpm) * 120_000 + 60_000,
    },
    async () => answered(await deployment.log()),
  )
  // The last job's picture is stored, its job completed and its message deleted well within this.
  await pause(1_000)
  const counts = await storage.takeCounts()
  for (const host of hosts.slice(0, 1)) {
    const { succeeded } = await batchCounts(host, 'operations')
    if (succeeded !== jobs)
      throw new Error(`operations: ${succeeded} of ${jobs} jobs had succeeded when the count ended`)
  }
  return counts
}
