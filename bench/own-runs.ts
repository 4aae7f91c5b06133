import { z } from 'zod'
import { deploymentUnder, type Sizes } from './conditions.ts'
import { getJson } from './json.ts'
import { untilDone } from './progress.ts'
import { answered, measure, startsOf, type LoggedRequest, type Measured } from './requests.ts'
import { batch, prepareDarkroom } from './runners/darkroom.ts'
import type { State } from './runners/runner.ts'
import { promptOf } from './work.ts'
import { World, type Host } from './world.ts'

/** A run of Darkroom's on a strict deployment without faults. */
export type OwnRun = Measured &
  State & {
    readonly hosts: number
    readonly rpm: number
    readonly jobs: number
    readonly isCutOff: boolean
    /** When its requests reached the deployment, in order. */
    readonly starts: readonly number[]
    /** How long after its slot each job's request reached the deployment. */
    readonly lateMs: readonly number[]
    readonly troubles: readonly string[]
  }

export type OwnPlan = { readonly hosts: number; readonly rpm: 60 | 600 }

/** Several parts look at the same runs; each is made when it is first asked for. */
export type OwnRuns = (plan: OwnPlan) => Promise<OwnRun>

export function newOwnRuns(sizes: Sizes): OwnRuns {
  const runs = new Map<string, Promise<OwnRun>>()
  return async (plan) => {
    const name = `${plan.hosts} at ${plan.rpm}`
    const run = runs.get(name) ?? runOwn(plan, (plan.rpm === 60 ? sizes.at60 : sizes.at600).jobs)
    runs.set(name, run)
    return run
  }
}

async function runOwn({ hosts, rpm }: OwnPlan, jobs: number): Promise<OwnRun> {
  await using world = new World()
  const deployment = await world.deployment(deploymentUnder({ rpm, isStrict: true, hasFaults: false }))
  await using running = await prepareDarkroom({ deployment, jobs, rpm }, hosts)
  await running.go()
  const limitMs = (jobs / rpm) * 120_000 + 60_000
  const endsAt = performance.now() + limitMs
  let isOver = false
  let log: readonly LoggedRequest[] = []
  await untilDone(
    {
      what: `darkroom, ${hosts} host(s) at ${rpm} RPM`,
      total: jobs,
      everyMs: 2_000,
      limitMs: limitMs + 60_000,
    },
    async () => {
      isOver = await running.isOver()
      log = await deployment.log()
      return isOver || performance.now() > endsAt ? jobs : Math.min(answered(log), jobs - 1)
    },
  )
  return {
    ...measure(log, rpm),
    ...(await running.state()),
    hosts,
    rpm,
    jobs,
    isCutOff: !isOver,
    starts: startsOf(log),
    lateMs: await latenesses(running.hosts(), jobs, log),
    troubles: running.hosts().flatMap(({ child }) => child.troubles()),
  }
}

const jobSchema = z.object({ slot_at: z.number().nullable() })

async function latenesses(
  [host]: readonly Host[],
  jobs: number,
  log: readonly LoggedRequest[],
): Promise<readonly number[]> {
  const receivedAt = new Map(log.map((request) => [request.prompt, request.receivedAt]))
  const late: number[] = []
  if (host === undefined) return late
  for (let index = 0; index < jobs; index += 1) {
    const { slot_at: slotAt } = jobSchema.parse(await getJson(`${host.url}/v1/jobs/${batch}.${index + 1}`))
    const at = receivedAt.get(promptOf(index))
    if (slotAt !== null && at !== undefined) late.push(at - 1_000 * slotAt)
  }
  return late
}
