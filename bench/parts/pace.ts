import type { Bench } from '../bench.ts'
import type { OwnRun } from '../own-runs.ts'
import { decimal, percent, quantile, type Gate, type Report } from '../report.ts'

const utilisationMin = 0.97

export async function pace({ ownRuns }: Bench): Promise<Report> {
  const settled = await Promise.allSettled([1, 4].map(async (hosts) => ownRuns({ hosts, rpm: 60 })))
  for (const hosts of [1, 4]) settled.push(...(await Promise.allSettled([ownRuns({ hosts, rpm: 600 })])))
  const runs = settled.flatMap((run) => (run.status === 'fulfilled' ? [run.value] : []))
  const broken = settled.flatMap((run) => (run.status === 'rejected' ? [String(run.reason)] : []))
  return {
    title: 'Pace',
    method:
      'Jobs from the queue to a simulated deployment that judges 10 s and 60 s windows strictly (a rejected request counts). ' +
      'Used: (accepted starts - 1) / ((last start - first start) x RPM / 60 s), from the log of the deployment; the pace ' +
      'is set to 98.0 %, so that is the most it can be. Late: from the slot to the arrival of the request. The two runs at ' +
      '60 RPM are side by side, those at 600 RPM one after the other.',
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
          'paid twice',
          'late ms: median',
          'p99',
          'max',
        ],
        rows: runs.map((run) => [
          String(run.rpm),
          String(run.hosts),
          `${run.finished} of ${run.jobs}${run.isCutOff ? ' (cut off)' : ''}`,
          decimal(run.minutes, 2),
          percent(run.utilisation),
          String(run.throttled),
          String(run.mostIn10s),
          String(run.limitIn10s),
          String(run.paidTwice),
          decimal(quantile(run.lateMs, 0.5)),
          decimal(quantile(run.lateMs, 0.99)),
          decimal(Math.max(...run.lateMs)),
        ]),
      },
    ],
    gates: [
      ...runs.flatMap(gatesOf),
      ...broken.map((found) => ({ name: 'a run of Darkroom', found, wanted: 'a run', isPassed: false })),
    ],
    remarks: runs.flatMap(({ rpm, hosts, troubles }) =>
      troubles.length === 0
        ? []
        : [`${rpm} RPM, ${hosts} host(s): ${troubles.length} lines of trouble, such as "${troubles[0]}"`],
    ),
  }
}

function gatesOf(run: OwnRun): readonly Gate[] {
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
      isPassed: run.throttled === 0 && run.mostIn10s <= run.limitIn10s && run.finished === run.jobs,
    },
  ]
}
