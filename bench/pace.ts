import { isWithinLimits, runDarkroom, type DarkroomRun, type RunOptions } from './darkroom-run.ts'
import { decimal, percent, quantile, type Gate, type Report } from './report.ts'

export const latencyMs = '1000-4000'

export const utilisationMin = 0.97

/** How many jobs are run at each rate. */
export type Sizes = { readonly jobsAt60: number; readonly jobsAt600: number }

export async function pace(sizes: Sizes): Promise<{ report: Report; runs: readonly DarkroomRun[] }> {
  const plans: readonly RunOptions[] = [
    { hosts: 1, rpm: 60, jobs: sizes.jobsAt60, latencyMs },
    { hosts: 4, rpm: 60, jobs: sizes.jobsAt60, latencyMs },
    { hosts: 1, rpm: 600, jobs: sizes.jobsAt600, latencyMs },
    { hosts: 4, rpm: 600, jobs: sizes.jobsAt600, latencyMs },
  ]
  const runs: DarkroomRun[] = []
  for (const plan of plans) runs.push(await runDarkroom(plan))
  return { runs, report: reportOf(runs) }
}

function reportOf(runs: readonly DarkroomRun[]): Report {
  return {
    title: 'Pace',
    method:
      'Jobs from the queue to a simulated deployment that judges 10 s and 60 s windows strictly (a rejected request counts). ' +
      'Used: (accepted starts - 1) / ((last start - first start) x RPM / 60 s), from the log of the deployment; the pace ' +
      'is set to 98.0 %, so that is the most it can be. Late: from the slot to the arrival of the request.',
    tables: [
      {
        head: [
          'RPM',
          'hosts',
          'finished',
          'minutes',
          'used',
          '429s',
          'most in 10 s',
          'limit',
          'repeated',
          'late ms: median',
          'p99',
          'max',
        ],
        rows: runs.map((run) => [
          String(run.rpm),
          String(run.hosts),
          `${run.finished} of ${run.jobs}`,
          decimal(run.minutes, 2),
          percent(run.utilisation),
          String(run.throttled),
          String(run.mostIn10s),
          String(run.limitIn10s),
          String(run.repeated),
          decimal(quantile(run.lateMs, 0.5)),
          decimal(quantile(run.lateMs, 0.99)),
          decimal(Math.max(...run.lateMs)),
        ]),
      },
    ],
    gates: runs.flatMap(gatesOf),
    remarks: runs.flatMap(({ rpm, hosts, troubles }) =>
      troubles.length === 0
        ? []
        : [`${rpm} RPM, ${hosts} host(s): ${troubles.length} lines of trouble, such as "${troubles[0]}"`],
    ),
  }
}

function gatesOf(run: DarkroomRun): readonly Gate[] {
  const what = `${run.rpm} RPM, ${run.hosts} host${run.hosts === 1 ? '' : 's'}`
  return [
    {
      name: `${what}: share of the budget used`,
      found: percent(run.utilisation),
      wanted: `at least ${percent(utilisationMin)}`,
      isPassed: run.utilisation >= utilisationMin,
    },
    {
      name: `${what}: starts above the limit`,
      found: `${run.throttled} 429s, ${run.mostIn10s} in 10 s`,
      wanted: `none, at most ${run.limitIn10s}`,
      isPassed: isWithinLimits(run) && run.counts.succeeded === run.jobs,
    },
  ]
}
