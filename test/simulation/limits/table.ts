import { cases } from './cases.ts'
import { cubic, darkroom, linear, type Controller } from './controllers.ts'
import { study, type Report } from './world.ts'

/**
 * Prints case x RPM as Markdown: what of the available was used five minutes after the last change, and what was
 * refused over the hour. `node test/simulation/limits/table.ts [--rpm 9,60] [--case text] [--log]`
 */
const option = (name: string): string | undefined => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : (process.argv[at + 1] ?? '')
}
const rpms = (option('rpm') ?? '9,60,600').split(',').map(Number)
const wanted = cases.filter(({ name }) => name.includes(option('case') ?? ''))
const verbose = process.argv.includes('--log')
const seed = option('seed') ?? ''
const only = process.argv.includes('--only')

const line = (cells: readonly string[]): void => console.log(`| ${cells.join(' | ')} |`)
const percent = (share: number): string => (Number.isFinite(share) ? (100 * share).toFixed(1) : '-')
const usedOf = ({ settled }: Report): string => percent(settled.accepted / settled.available)
const refusedOf = ({ refused, starts }: Report): string => percent(refused / starts)

line([
  'case',
  'RPM',
  'used %',
  'refused %',
  'events',
  'other 429',
  'phases %',
  ...(only ? [] : ['x0.9: used', 'refused', 'cubic: used', 'refused']),
  'opinions',
])
line(Array.from({ length: only ? 8 : 12 }, () => '---'))
for (const { name, truth } of wanted) {
  for (const rpm of rpms) {
    const scene = truth(rpm)
    const limits = { rpm, pace: scene.pace }
    const run = (controller: Controller): Report => study(scene, controller, { seed, verbose })
    const ours = run(darkroom(limits))
    const others = only ? [] : [linear(limits), cubic(limits)].map(run)
    line([
      name,
      String(rpm),
      usedOf(ours),
      refusedOf(ours),
      String(ours.events),
      String(ours.otherRefused),
      ours.phases
        .filter(({ available }) => available > 0)
        .map((p) => `${percent(p.accepted / p.available)}/${percent(p.refused / (p.accepted + p.refused))}`)
        .join(' '),
      ...others.flatMap((report) => [usedOf(report), refusedOf(report)]),
      ours.opinions.slice(0, 8).join('; '),
    ])
    if (verbose) console.log(ours.log.join('\n'))
  }
}
