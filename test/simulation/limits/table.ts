import { parseArgs } from 'node:util'
import { cases } from './cases.ts'
import { constant, cubic, openContext, linear, type Controller } from './controllers.ts'
import { availableAt, study, type Report, type Truth } from './world.ts'

/**
 * Prints case x RPM as Markdown: what of the available was used from five minutes after each change on, which share of
 * the starts was refused for the rate, and the same for the two controllers that were tried before.
 *
 *     node test/simulation/limits/table.ts [--rpm 9,60,600,6000] [--case "another client"] [--seed 1] [--log]
 */
const { values } = parseArgs({
  options: {
    rpm: { type: 'string', default: '9,60,600' },
    case: { type: 'string', default: '' },
    seed: { type: 'string', default: '' },
    log: { type: 'boolean', default: false },
  },
})

line([
  'case',
  'RPM',
  'used %',
  'in each phase',
  'refused %',
  'events',
  'other 429',
  'x0.9 and +0.01: used, refused',
  'cubic: used, refused',
  'best even rate',
  'what it thought, from minute',
])
line(Array.from({ length: 11 }, () => '---'))
for (const { name, truth } of cases.filter(({ name }) => name.includes(values.case))) {
  for (const rpm of values.rpm.split(',').map(Number)) row(name, rpm, truth(rpm))
}

function row(name: string, rpm: number, truth: Truth): void {
  const limits = { rpm, pace: truth.pace, topPace: 0.995 }
  const run = (controller: Controller): Report =>
    study(truth, controller, { seed: values.seed, verbose: values.log })
  const ours = run(openContext(limits))
  const others = [linear(limits), cubic(limits)].map(run)
  const phases = ours.phases.filter(({ available }) => available > 0)
  line([
    name,
    String(rpm),
    used(ours),
    phases.map(({ accepted, available }) => percent(accepted / available)).join(' '),
    refused(ours),
    String(ours.events),
    String(ours.otherRefused),
    ...others.map((report) => `${used(report)}, ${refused(report)}`),
    bestEvenRates(truth),
    ours.opinions.slice(0, 8).join('; '),
  ])
  if (values.log) console.log(ours.log.join('\n'))
}

/**
 * What somebody would use who knew each other client in advance and started at the best even rate of which less than one
 * in a hundred is refused; by trying all of them. Some clients leave no such rate.
 */
function bestEvenRates(truth: Truth): string {
  const bests = truth.neighbours.map((neighbour) => {
    const alone = { ...truth, minutes: 60, neighbours: [{ ...neighbour, from: 0, until: Infinity }] }
    const available = availableAt(alone, 0)
    const shares = Array.from({ length: 24 }, (_, index) => 0.3 + index * 0.03).map((share) => {
      const report = study(alone, constant(available * share), { seed: values.seed })
      return report.refused < 0.01 * report.starts ? report.settled.accepted / report.settled.available : 0
    })
    const best = Math.max(...shares)
    return best === 0 ? 'none' : percent(best)
  })
  return bests.join(' ')
}

function used({ settled }: Report): string {
  return percent(settled.accepted / settled.available)
}

function refused(report: Report): string {
  return percent(report.refused / report.starts)
}

function percent(share: number): string {
  return (100 * share).toFixed(1)
}

function line(cells: readonly string[]): void {
  console.log(`| ${cells.join(' | ')} |`)
}
