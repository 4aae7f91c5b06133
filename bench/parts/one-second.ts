import { windowLimit } from '../../src/local/deployment/windows.ts'
import type { Bench } from '../bench.ts'
import { decimal, percent, quantile, type Report } from '../report.ts'
import { startsAbove } from '../requests.ts'

const shareMax = 0.01

/** The 1 s window judges nothing here, because Azure was not seen to; how near we come to it is worth knowing. */
export async function oneSecond({ ownRuns }: Bench): Promise<Report> {
  const runs = [await ownRuns({ hosts: 1, rpm: 60 }), await ownRuns({ hosts: 1, rpm: 600 })]
  const found = runs.map(({ rpm, starts }) => {
    const above = startsAbove(starts, 1_000, rpm)
    const gapsMs = starts.slice(1).map((start, index) => start - (starts[index] ?? start))
    return { rpm, starts: starts.length, above, share: above / starts.length, gapsMs }
  })
  return {
    title: 'One second',
    method:
      "Pace's runs with one host: starts that found the limit of the last second, max(1, RPM / 60 rounded up), already reached. " +
      'The simulated deployment does not judge this window.',
    tables: [
      {
        head: ['RPM', 'limit in 1 s', 'starts', 'above', 'share', 'gap ms: least', 'median'],
        rows: found.map(({ rpm, starts, above, share, gapsMs }) => [
          String(rpm),
          String(windowLimit(rpm, 1_000)),
          String(starts),
          String(above),
          percent(share),
          decimal(Math.min(...gapsMs)),
          decimal(quantile(gapsMs, 0.5)),
        ]),
      },
    ],
    gates: found.map(({ rpm, share }) => ({
      name: `${rpm} RPM: starts above the limit of one second`,
      found: percent(share),
      wanted: `under ${percent(shareMax)}`,
      isPassed: share < shareMax,
    })),
    remarks: [],
  }
}
