import { chanceFrom } from '../../src/local/deployment/chance.ts'
import { batchOf, fairWeather } from '../../test/simulation/scenarios.ts'
import { simulate, type Run } from '../../test/simulation/world.ts'
import { say } from '../progress.ts'
import { percent, type Report } from '../report.ts'

/** While the lead is being learned, from 5 s to what the deliveries need, starts are not counted: it takes some thirty. */
const speeds = [
  { rpm: 6, minutes: 60, learningMinutes: 10 },
  { rpm: 9, minutes: 60, learningMinutes: 10 },
  { rpm: 60, minutes: 20, learningMinutes: 3 },
  { rpm: 600, minutes: 10, learningMinutes: 3 },
  { rpm: 6_000, minutes: 3, learningMinutes: 1.5 },
] as const
const instanceCounts = [1, 4, 16]

/** How late messages are delivered. */
const lateness = {
  punctual: (chance: () => number) => chance() * 2_000,
  'all up to 30 s late': (chance: () => number) => chance() * 30_000,
  'one in ten': (chance: () => number) => (chance() < 0.1 ? chance() * 30_000 : chance() * 1_000),
} as const

const usedMin = 0.975
/** Of clocks that are together as far apart as this. */
const skewMs = 50

type Row = {
  readonly rpm: number
  readonly instances: number
  readonly late: string
  readonly used: number
  readonly usedAfter: number
  readonly throttled: number
}

/** The whole pipeline in virtual time, cold at the start, on the tables and queues of the simulation. */
export async function virtual(): Promise<Report> {
  const rows: Row[] = []
  for (const speed of speeds) {
    for (const instances of instanceCounts) {
      for (const late of ['punctual', 'all up to 30 s late', 'one in ten'] as const) {
        say(`virtual time: ${speed.rpm} RPM, ${instances} instance(s), ${late}`)
        rows.push(await row(speed, instances, late))
      }
    }
  }
  return {
    title: 'Virtual time',
    method:
      'The real pipeline on simulated storage and queues, in virtual time, from a cold start; the deployment judges rolling windows ' +
      `of 10 s and 60 s and counts what it rejects; pace 0.98, which rises by itself; the clocks of instances are up to ${skewMs} ms apart. ` +
      'Learned: after the first minutes, in which the lead is learned: 10 of 60 at 6 and 9 RPM, 3 of 20 at 60, 3 of 10 at 600, 1.5 of 3 at 6,000.',
    tables: [
      {
        head: ['RPM', 'instances', 'messages', 'used', 'used once learned', '429s'],
        rows: rows.map(({ rpm, instances, late, used, usedAfter, throttled }) => [
          String(rpm),
          String(instances),
          late,
          percent(used),
          percent(usedAfter),
          String(throttled),
        ]),
      },
    ],
    gates: [
      {
        name: 'least used once the lead is learned',
        found: percent(Math.min(...rows.map(({ usedAfter }) => usedAfter))),
        wanted: `at least ${percent(usedMin)}`,
        isPassed: rows.every(({ usedAfter }) => usedAfter >= usedMin),
      },
      {
        name: '429s in all runs',
        found: String(rows.reduce((sum, { throttled }) => sum + throttled, 0)),
        wanted: '0',
        isPassed: rows.every(({ throttled }) => throttled === 0),
      },
    ],
    remarks: [],
  }
}

async function row(
  { rpm, minutes, learningMinutes }: (typeof speeds)[number],
  instances: number,
  late: keyof typeof lateness,
): Promise<Row> {
  const chance = chanceFrom('virtual', rpm, instances, late)
  const delay = lateness[late]
  let started = 0
  const run = await simulate(
    fairWeather(`virtual ${rpm} ${instances} ${late}`, {
      rpm,
      instances,
      submissions: batchOf('big', rpm * minutes),
      endsAfterMs: (minutes + 5) * 60_000,
      // More than is ever in hand: how many one instance takes is host.json's matter, and measured elsewhere.
      atOnce: Math.ceil((rpm * 2) / instances) + 100,
      wakeDelayMs: () => delay(chance),
      skewMs: () => ((started += 1) % 2 === 0 ? skewMs / 2 : -skewMs / 2),
    }),
  )
  const throttled = run.calls.filter(({ outcome }) => outcome === 'throttled').length
  return {
    rpm,
    instances,
    late,
    used: used(run, rpm, 0),
    usedAfter: used(run, rpm, learningMinutes * 60_000),
    throttled,
  }
}

/** Starts a minute as a share of the limit, from so long after the first to the last. */
function used({ calls }: Run, rpm: number, afterMs: number): number {
  const starts = calls.map(({ startedAt }) => startedAt).sort((a, b) => a - b)
  const from = (starts[0] ?? 0) + afterMs
  const counted = starts.filter((start) => start >= from)
  const minutes = ((counted.at(-1) ?? 0) - (counted[0] ?? 0)) / 60_000
  return (counted.length - 1) / minutes / rpm
}
