import type { Bench } from '../bench.ts'
import type { Conditions, Size } from '../conditions.ts'
import { runLot, type Plan, type Run } from '../lot.ts'
import { startRedis } from '../redis/redis.ts'
import { decimal, percent, type Gate, type Report, type Table } from '../report.ts'
import { runnersWith } from '../runners/all.ts'
import type { Runner } from '../runners/runner.ts'
import { World } from '../world.ts'

export async function peersAt60(bench: Bench): Promise<Report> {
  return peers(bench, {
    rpm: 60,
    size: bench.sizes.at60,
    processesAtOnce: Infinity,
    deploymentsPerProcess: 16,
  })
}

export async function peersAt600(bench: Bench): Promise<Report> {
  return peers(bench, { rpm: 600, size: bench.sizes.at600, processesAtOnce: 10, deploymentsPerProcess: 1 })
}

type Level = {
  readonly rpm: 60 | 600
  readonly size: Size
  /** Runs go side by side while they share so many processes; Darkroom's are alone when not all go at once. */
  readonly processesAtOnce: number
  readonly deploymentsPerProcess: number
}

/** The same jobs in the hands of all runners, under all conditions. */
async function peers(bench: Bench, level: Level): Promise<Report> {
  const { rpm, size, processesAtOnce } = level
  await using world = new World()
  const redis = await startRedis(world)
  const runners = runnersWith(redis).filter(({ name }) => name.includes(bench.runnersLike))
  const done: Run[] = []
  const go = async (plans: readonly Plan[]): Promise<void> => {
    for (const [index, lot] of lotsOf(plans, processesAtOnce).entries()) {
      done.push(...(await runLot(`peers at ${rpm} RPM, lot ${index + 1}`, lot, { ...size, ...level })))
    }
  }
  const plans = byDuration(runners).flatMap((runner) =>
    allConditions(rpm).map((conditions) => ({ runner, conditions })),
  )
  // Darkroom under a strict deployment without faults is what Pace has run; on a lenient one it does the same again,
  // unless one of its requests was refused.
  await go(
    plans.filter(({ runner, conditions }) => !isOwn(runner) || (conditions.isStrict && conditions.hasFaults)),
  )
  // Whoever has run Pace finds them there.
  for (const runner of runners.filter(isOwn)) done.push(await paceRun(bench, runner, rpm))
  const lenient = plans.filter(({ runner, conditions }) => isOwn(runner) && !conditions.isStrict)
  const wasRefused = ({ runner, conditions: { hasFaults } }: Plan): boolean =>
    done.some(
      (run) => run.runner === runner && run.conditions.hasFaults === hasFaults && !isWithoutRefusal(run),
    )
  await go(lenient.filter(wasRefused))
  return {
    title: `Peers at ${rpm} RPM`,
    method: methodOf(level),
    tables: [false, true].map((hasFaults) => tableOf(runners, done, { rpm, hasFaults })),
    gates: done.flatMap(gatesOf),
    remarks: redis.kind === 'ready' ? [] : [`BullMQ was not run, for there is no Redis: ${redis.why}`],
  }
}

function allConditions(rpm: number): readonly Conditions[] {
  return [false, true].flatMap((hasFaults) => [true, false].map((isStrict) => ({ rpm, isStrict, hasFaults })))
}

function isOwn({ name }: Runner): boolean {
  return name.startsWith('Darkroom')
}

function isWithoutRefusal(run: Run): boolean {
  return run.kind === 'measured' && run.throttled === 0
}

/**
 * Those that spend all at once, and soon give up, come first, and those that go alone last: a lot takes as long as its
 * longest run.
 */
function byDuration(runners: readonly Runner[]): readonly Runner[] {
  const rank = (runner: Runner): number => {
    if (isOwn(runner)) return 3
    if (runner.name.startsWith('BullMQ')) return 2
    return runner.name.includes('per 60 s') ? 0 : 1
  }
  return runners.toSorted((a, b) => rank(a) - rank(b))
}

function lotsOf(plans: readonly Plan[], processesAtOnce: number): readonly (readonly Plan[])[] {
  const lots: Plan[][] = []
  let context = 0
  for (const plan of plans) {
    const isAlone = isOwn(plan.runner) && Number.isFinite(processesAtOnce)
    // Four workers share what one would do.
    const processes = isAlone ? processesAtOnce : Math.ceil(plan.runner.processes / 2)
    if (processes > context) {
      lots.push([])
      context = processesAtOnce
    }
    lots.at(-1)?.push(plan)
    context -= processes
  }
  return lots
}

async function paceRun(bench: Bench, runner: Runner, rpm: 60 | 600): Promise<Run> {
  const conditions = { rpm, isStrict: true, hasFaults: false }
  try {
    const run = await bench.ownRuns({ hosts: runner.processes, rpm })
    return { ...run, runner, conditions, kind: 'measured' }
  } catch (error) {
    return { runner, conditions, kind: 'broken', why: error instanceof Error ? error.message : String(error) }
  }
}

function methodOf({ rpm, size, processesAtOnce }: Level): string {
  const atOnce = Number.isFinite(processesAtOnce)
    ? `some ${processesAtOnce} of them at the same time, Darkroom's alone`
    : 'all of them at the same time'
  return (
    `${size.jobs} jobs at ${rpm} RPM, each runner with a simulated deployment of its own, ${atOnce}, for at most ` +
    `${decimal(size.limitMs / 60_000)} minutes. Refused ones count: requests answered with 429 count in the windows, as ` +
    "Azure's text says. Faults: 1 % of the requests are answered with 500, 1 % are worked on and never answered. All call " +
    'through the `openai` package with its default of two retries, except where the name says otherwise and where the peer ' +
    'sends again by itself (BullMQ: three attempts, and the rest its documentation has for a 429; the cookbook: five). They ' +
    'are told exactly the RPM. Used: accepted starts over those the limit allows from the first request to the last; left out ' +
    'where a runner gave up more than a tenth of its jobs. Most in 10 s: requests, the refused ones included. Paid twice: ' +
    'requests the model worked on beyond one a prompt.'
  )
}

function tableOf(
  runners: readonly Runner[],
  runs: readonly Run[],
  { rpm, hasFaults }: Pick<Conditions, 'rpm' | 'hasFaults'>,
): Table {
  const rows = runners.flatMap((runner) => {
    const [strict, lenient] = [true, false].map((isStrict) =>
      runs.find(
        (run) =>
          run.runner === runner &&
          run.conditions.hasFaults === hasFaults &&
          run.conditions.isStrict === isStrict,
      ),
    )
    const isSame = lenient === undefined && strict !== undefined && isWithoutRefusal(strict)
    return [
      ...(strict === undefined ? [] : [rowOf(strict, isSame ? 'none was' : 'yes')]),
      ...(lenient === undefined ? [] : [rowOf(lenient, 'no')]),
    ]
  })
  const limit = Math.ceil(rpm / 6)
  return {
    title: `${rpm} RPM, ${hasFaults ? '2 % faults' : 'no faults'}`,
    head: [
      'runner',
      'refused ones count',
      'finished',
      'gave up',
      'used',
      '429s',
      `most in 10 s (limit ${limit})`,
      'paid twice',
      'minutes',
    ],
    rows,
  }
}

function rowOf(run: Run, refused: string): readonly string[] {
  if (run.kind === 'broken') return [run.runner.name, refused, 'broke', '', '', '', '', '', '']
  const hasGivenUp = !run.isCutOff && run.finished < 0.9 * run.jobs
  return [
    run.runner.name,
    refused,
    `${run.finished} of ${run.jobs}${run.isCutOff ? ' (cut off)' : ''}`,
    String(run.failed),
    hasGivenUp ? '-' : percent(run.utilisation),
    String(run.throttled),
    String(run.mostIn10s),
    String(run.paidTwice),
    decimal(run.minutes, 2),
  ]
}

function gatesOf(run: Run): readonly Gate[] {
  const { isStrict, hasFaults, rpm } = run.conditions
  const what = `${run.runner.name}, ${rpm} RPM, ${isStrict ? 'strict' : 'lenient'}${hasFaults ? ', faults' : ''}`
  if (run.kind === 'broken') return [{ name: what, found: run.why, wanted: 'a run', isPassed: false }]
  if (!isOwn(run.runner)) return []
  return [
    {
      name: `${what}: all finished, none refused`,
      found: `${run.finished} of ${run.jobs}, ${run.throttled} 429s, ${run.mostIn10s} in 10 s`,
      wanted: `all, no 429, at most ${run.limitIn10s}`,
      isPassed: run.finished === run.jobs && run.throttled === 0 && run.mostIn10s <= run.limitIn10s,
    },
  ]
}
