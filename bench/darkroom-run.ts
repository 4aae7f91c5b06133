import { z } from 'zod'
import { windowLimit } from '../src/local/deployment/windows.ts'
import { untilDone } from './progress.ts'
import { finished, measure, type LoggedRequest, type Measured } from './requests.ts'
import { batchCounts, getJson, promptOf, putJobs, World, type Counts, type Host } from './world.ts'

/** One run of Darkroom: its hosts start, the jobs are put on the queue, and it ends with the last picture. */
export type DarkroomRun = Measured & {
  readonly hosts: number
  readonly rpm: number
  readonly jobs: number
  readonly counts: Counts
  /** How long after its slot each job's request reached the deployment. */
  readonly lateMs: readonly number[]
  /** Slots that passed without a start. */
  readonly troubles: readonly string[]
}

export type RunOptions = {
  readonly hosts: number
  readonly rpm: number
  readonly jobs: number
  readonly latencyMs: string
}

const batch = 'bench'

export async function runDarkroom(options: RunOptions): Promise<DarkroomRun> {
  const { hosts: count, rpm, jobs, latencyMs } = options
  await using world = new World()
  const storage = await world.storage()
  const deployment = await world.deployment({ rpm, latencyMs })
  const hosts = await world.hosts(count, { storage, deployment, rpm })
  await putJobs(storage.connectionString, { batch, count: jobs })
  let log: readonly LoggedRequest[] = []
  // The deployment's log is watched and not the batch, so that watching costs the pipeline nothing.
  await untilDone(
    {
      what: `darkroom, ${count} host(s) at ${rpm} RPM`,
      total: jobs,
      everyMs: 2_000,
      limitMs: (jobs / rpm) * 120_000 + 60_000,
    },
    async () => {
      log = await deployment.log()
      return finished(log)
    },
  )
  const [host] = hosts
  if (host === undefined) throw new Error('there is no host')
  const counts = await settledCounts(host, jobs)
  return {
    ...measure(log, rpm),
    hosts: count,
    rpm,
    jobs,
    counts,
    lateMs: await latenesses(host, jobs, log),
    troubles: hosts.flatMap(({ child }) => child.troubles()),
  }
}

/** The pictures of the last jobs are still being stored when the deployment has answered. */
async function settledCounts(host: Host, jobs: number): Promise<Counts> {
  let counts = await batchCounts(host, batch)
  await untilDone({ what: 'storing the last', total: jobs, everyMs: 250, limitMs: 10_000 }, async () => {
    counts = await batchCounts(host, batch)
    return counts.succeeded + counts.failed
  })
  return counts
}

const jobSchema = z.object({ slot_at: z.number().nullable() })

async function latenesses(
  host: Host,
  jobs: number,
  log: readonly LoggedRequest[],
): Promise<readonly number[]> {
  const receivedAt = new Map(log.map((request) => [request.prompt, request.receivedAt]))
  const late: number[] = []
  for (let index = 0; index < jobs; index += 1) {
    const { slot_at: slotAt } = jobSchema.parse(await getJson(`${host.url}/v1/jobs/${batch}.${index + 1}`))
    const at = receivedAt.get(promptOf(index))
    if (slotAt !== null && at !== undefined) late.push(at - 1_000 * slotAt)
  }
  return late
}

export function isWithinLimits(run: Measured & { readonly rpm: number }): boolean {
  return run.throttled === 0 && run.mostIn10s <= windowLimit(run.rpm, 10_000)
}
