import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { stopAll } from '../../src/local/child.ts'
import { untilStopped } from '../../src/local/instance.ts'
import { chaos, type Options } from './chaos.ts'
import { ends, runEnd } from './ends.ts'

const help = `npm run chaos [-- OPTIONS]

Kills hosts of Darkroom, one every few seconds and without warning, while several hundred jobs pass through them to a
simulated deployment that fails in every way it knows. Everything runs in processes of its own on this machine and costs
nothing. When the kills are over it waits until every job is final, and then compares what all sides have recorded.

  --scenario=S  kills (all of the above), or how a platform ends a host: terminated (SIGTERM with 30 calls of 20 s under
                way), storage-away (for two minutes), worker-killed (alone); ends is these three, all is everything (kills)
  --minutes=M   how long hosts are killed after the last job was sent (1)
  --seed=N      an integer that decides on the jobs, the kills and the faults (by chance)
  --hosts=N     how many run at once (4)
  --keep        write down what was recorded, also when everything held
  --help        this text

With one minute of kills it takes five: a slot that was lost with its host is given anew after two to three minutes.
Ends with 1 when something that must hold did not.
`

type Asked = Options & { readonly scenario: string }

/** Undefined when only help was asked for. */
function readOptions(): Asked | undefined {
  const { values } = parseArgs({
    options: {
      scenario: { type: 'string', default: 'kills' },
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(randomInt(1_000_000)) },
      hosts: { type: 'string', default: '4' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const numberOf = (
    name: 'minutes' | 'seed' | 'hosts',
    isFine: (value: number) => boolean,
    wanted: string,
  ): number => {
    const value = Number(values[name])
    if (values[name].trim() !== '' && isFine(value)) return value
    throw new Error(`--${name}: got ${values[name]}, wanted ${wanted}`)
  }
  const { scenario } = values
  const scenarios = ['kills', ...ends, 'ends', 'all']
  if (!scenarios.includes(scenario))
    throw new Error(`--scenario: got ${scenario}, wanted one of ${scenarios.join(', ')}`)
  return {
    scenario,
    minutes: numberOf('minutes', (value) => value > 0 && value <= 60, 'minutes above 0, at most 60'),
    seed: numberOf('seed', Number.isSafeInteger, 'an integer'),
    hosts: numberOf('hosts', (value) => Number.isInteger(value) && value >= 1 && value <= 16, '1 to 16'),
    keeps: values.keep,
  }
}

async function run({ scenario, ...options }: Asked): Promise<void> {
  void untilStopped().then(async () => {
    await stopAll()
    process.exit(130)
  })
  try {
    const isAsked = (names: readonly string[]): boolean => [...names, 'all'].includes(scenario)
    if (isAsked(['kills']) && !(await chaos(options))) process.exitCode = 1
    for (const end of ends) {
      if (isAsked([end, 'ends']) && !(await runEnd(end))) process.exitCode = 1
    }
  } finally {
    await stopAll()
  }
}

let options: Asked | undefined
try {
  options = readOptions()
  if (options === undefined) process.stdout.write(help)
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
if (options !== undefined) await run(options)
