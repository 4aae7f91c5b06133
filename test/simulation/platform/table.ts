import { parseArgs } from 'node:util'
import { study, type Case, type Finding, type Remedy } from './study.ts'

/**
 * Prints as Markdown what becomes of the pace where the platform takes a function's instances away: RPM x length of a
 * call x remedy, over how often the platform looks (5 and 10 s) and how long a start takes (2, 5 and 15 s). In each cell:
 * per cent of the budget used, per cent of the time in which nobody listened to `image-work`, cold wakes of it an hour.
 *
 *     node test/simulation/platform/table.ts [--rpm 6,9,60,600] [--call 20,40] [--remedy "as it is"] [--seed 1]
 */
const { values } = parseArgs({
  options: {
    rpm: { type: 'string', default: '6,9,60,600' },
    call: { type: 'string', default: '20,40' },
    remedy: { type: 'string', default: '' },
    seed: { type: 'string', default: '' },
  },
})

const before = { isNothingEarlier: true } as const
const remedies: readonly (readonly [string, Remedy])[] = [
  ['before: cold wakes raise the lead', { ...before, isColdLearned: true }],
  ['they do not, and nothing else', before],
  ['the same, a heartbeat every 15 s', { ...before, heartbeatMs: 15_000 }],
  ['the same, a heartbeat every 5 s', { ...before, heartbeatMs: 5_000 }],
  ['the same, polls up to 10 s apart', { ...before, maxPollingIntervalMs: 10_000 }],
  ['the same, image-work always ready', { ...before, alwaysReady: { 'image-work': 1 } }],
  ['as it is', {}],
  ['as it is, image-work always ready', { alwaysReady: { 'image-work': 1 } }],
  ['as it is, both always ready', { alwaysReady: { 'image-work': 1, pacer: 1 } }],
]
const platforms = [5, 10].flatMap((sample) => [2, 5, 15].map((cold) => ({ sample, cold })))

line([
  'RPM',
  'call s',
  'remedy',
  ...platforms.map(({ sample, cold }) => `looks ${sample} s, starts ${cold} s`),
  'lead s, from and to',
  'given ahead s',
  'instances busy',
])
line(Array.from({ length: platforms.length + 6 }, () => '---'))
for (const rpm of values.rpm.split(',').map(Number)) {
  for (const call of values.call.split(',').map(Number)) {
    for (const [name, remedy] of remedies.filter(([name]) => name.includes(values.remedy))) {
      await row({ rpm, callMs: call * 1_000, minutes: rpm >= 600 ? 15 : 60 }, name, remedy)
    }
  }
}

async function row(asked: Omit<Case, 'sampleMs' | 'coldMs'>, name: string, remedy: Remedy): Promise<void> {
  const found: Finding[] = []
  for (const { sample, cold } of platforms) {
    found.push(await study({ ...asked, sampleMs: sample * 1_000, coldMs: cold * 1_000 }, remedy, values.seed))
  }
  const leads = found.flatMap(({ leadsMs }) => leadsMs)
  line([
    String(asked.rpm),
    String(asked.callMs / 1_000),
    name,
    ...found.map(cell),
    `${seconds(Math.min(...leads))} ${seconds(Math.max(...leads))}`,
    range(found.map(({ aheadMs }) => aheadMs / 1_000)),
    range(found.map(({ work }) => work.busy)),
  ])
}

function cell({ used, work: { unheardMs, observedMs, coldWakes } }: Finding): string {
  return [
    (100 * used).toFixed(1),
    ((100 * unheardMs) / observedMs).toFixed(0),
    ((3_600_000 * coldWakes) / observedMs).toFixed(0),
  ].join(' / ')
}

function range(values: readonly number[]): string {
  return `${Math.min(...values).toFixed(1)} ${Math.max(...values).toFixed(1)}`
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(0)
}

function line(cells: readonly string[]): void {
  console.log(`| ${cells.join(' | ')} |`)
}
