import type { Bench } from '../bench.ts'
import { pause, say, untilDone } from '../progress.ts'
import { startRedis } from '../redis/redis.ts'
import { decimal, type Report } from '../report.ts'
import { answered, measure, type Measured } from '../requests.ts'
import { runnersWith } from '../runners/all.ts'
import type { Runner, State } from '../runners/runner.ts'
import { latencyMs } from '../work.ts'
import { World, type Deployment } from '../world.ts'

const rpm = 60
/** Of the deployment: this part is about crashes, so that none of the runners may meet a 429. */
const rpmAllowed = 60_000
const firstLimitMs = 90_000
const secondLimitMs = 270_000
const downMs = 1_000
/** An answer that came this long before the crash may not be stored yet: the cores are shared. */
const storingMs = 500

type Crash = {
  readonly answered: number
  /** Calls that were under way, or whose answer was just being stored. */
  readonly inDoubt: number
}

type Survived = { readonly runner: Runner } & (
  | ({
      readonly kind: 'measured'
      readonly jobs: number
      readonly crash: Crash
      readonly isCutOff: boolean
      readonly seconds: number
    } & State &
      Measured)
  | { readonly kind: 'broken'; readonly why: string }
)

/** Every runner is killed in the middle, and started again. */
export async function kill({ isQuick, runnersLike }: Bench): Promise<Report> {
  const jobs = isQuick ? 20 : 40
  await using world = new World()
  const redis = await startRedis(world)
  const runners = runnersWith(redis).filter(({ name }) => name.includes(runnersLike))
  const deployments = await world.deployments(runners.map(() => ({ rpm: rpmAllowed, latencyMs })))
  const survived: Survived[] = []
  await untilDone(
    {
      what: 'kill',
      total: runners.length,
      everyMs: 1_000,
      limitMs: firstLimitMs + secondLimitMs + 120_000,
      // It goes on beside the peers at 60 RPM.
      isSilent: true,
    },
    watched(survived, async () =>
      Promise.all(
        runners.map(async (runner, index) => {
          const deployment = deployments[index]
          if (deployment !== undefined) survived.push(await crash(runner, deployment, jobs))
        }),
      ),
    ),
  )
  const rows = runners.flatMap((runner) => survived.filter((run) => run.runner === runner).map(rowOf))
  return {
    title: 'Kill',
    method:
      `${jobs} jobs at ${rpm} RPM on a deployment that refuses nothing. When half of the pictures are answered, all processes of ` +
      'the runner are killed (SIGKILL) and the same command is given once more; what holds their state (Azurite, Redis) goes on. ' +
      'Lost: jobs without a picture in the end, for which no failure is told either. Paid twice: requests the model worked on ' +
      'beyond one a prompt; nobody can help it for those in doubt, under way at the crash or answered just before. Labelled: repeats that the runner ' +
      'itself calls possibly paid twice.',
    tables: [
      {
        head: [
          'runner',
          'pictures at the crash',
          'in doubt',
          'finished',
          'lost',
          'paid',
          'paid twice',
          'labelled',
          'seconds until done',
        ],
        rows,
      },
    ],
    gates: survived.flatMap((run) => {
      const { name } = run.runner
      if (run.kind === 'broken') return [{ name, found: run.why, wanted: 'a run', isPassed: false }]
      if (!name.startsWith('Darkroom')) return []
      const { labelled = 0, paidTwice, finished } = run
      return [
        {
          name: `${name}: lost, and paid twice without a label`,
          found: `${jobs - finished} and ${Math.max(0, paidTwice - labelled)}`,
          wanted: 'none',
          isPassed: finished === jobs && paidTwice <= labelled,
        },
        {
          name: `${name}: paid twice beyond what was in doubt`,
          found: `${paidTwice} of ${run.crash.inDoubt}`,
          wanted: 'none',
          isPassed: paidTwice <= run.crash.inDoubt,
        },
      ]
    }),
    remarks: redis.kind === 'ready' ? [] : [`BullMQ was not run, for there is no Redis: ${redis.why}`],
  }
}

/** Starts the work and answers how many are done so far; a fault of the work comes out of the next question. */
function watched(done: readonly unknown[], work: () => Promise<unknown>): () => Promise<number> {
  const faults: unknown[] = []
  work().catch((error: unknown) => faults.push(error))
  return async () => {
    if (faults.length > 0) throw faults[0]
    return done.length
  }
}

async function crash(runner: Runner, deployment: Deployment, jobs: number): Promise<Survived> {
  try {
    await using running = await runner.prepare({ jobs, rpm, deployment })
    await running.go()
    await until(async () => answered(await deployment.log()) >= jobs / 2, firstLimitMs)
    const killedAt = performance.timeOrigin + performance.now()
    await running.kill()
    const before = await deployment.log()
    await pause(downMs)
    const startedAt = performance.now()
    await running.again()
    const isOver = await until(async () => running.isOver(), secondLimitMs)
    const seconds = (performance.now() - startedAt) / 1_000
    say(`kill: ${runner.name} is through after ${decimal(seconds, 0)} s`)
    const state = await running.state()
    return {
      kind: 'measured',
      runner,
      jobs,
      crash: {
        answered: answered(before),
        inDoubt: before.filter(({ answeredAt }) => answeredAt === null || answeredAt > killedAt - storingMs)
          .length,
      },
      isCutOff: !isOver,
      seconds,
      ...measure(await deployment.log(), rpm),
      ...state,
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    say(`${runner.name}: ${why}`)
    return { kind: 'broken', runner, why }
  }
}

/** False when it took too long. */
async function until(isSo: () => Promise<boolean>, limitMs: number): Promise<boolean> {
  const endsAt = performance.now() + limitMs
  while (performance.now() < endsAt) {
    if (await isSo()) return true
    await pause(250)
  }
  return false
}

function rowOf(run: Survived): readonly string[] {
  const { name } = run.runner
  if (run.kind === 'broken') return [name, 'broke', '', '', '', '', '', '', '']
  const { crash, jobs, finished, failed, paid, paidTwice, labelled, isCutOff, seconds } = run
  return [
    name,
    String(crash.answered),
    String(crash.inDoubt),
    `${finished} of ${jobs}`,
    isCutOff ? 'cut off' : String(jobs - finished - failed),
    String(paid),
    String(paidTwice),
    labelled === undefined ? 'none' : String(labelled),
    decimal(seconds, 0),
  ]
}
