import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { setTimeout as wait } from 'node:timers/promises'
import { stopAll } from '../../src/local/child.ts'
import { untilStopped } from '../../src/local/instance.ts'
import { chaos } from './chaos.ts'

const help = `npm run chaos [-- OPTIONS]

Kills hosts of Darkroom, one every few seconds and without warning, while several hundred jobs pass through them to a
simulated deployment that fails in every way it knows. Everything runs in processes of its own on this machine and costs
nothing. When the kills are over it waits until every job is final, and then compares what all sides have recorded.

  --minutes=M   how long hosts are killed after the last job was sent (1)
  --seed=N      an integer that decides on the jobs, the kills and the faults (by chance)
  --hosts=N     how many run at once (4)
  --keep        write down what was recorded also when everything held
  --help        this text

With one minute of kills it takes about five. Ends with 1 when something that must hold did not.
`

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(randomInt(1_000_000)) },
    hosts: { type: 'string', default: '4' },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

function numberOf(
  name: 'minutes' | 'seed' | 'hosts',
  isFine: (value: number) => boolean,
  wanted: string,
): number {
  const value = Number(values[name])
  if (values[name].trim() !== '' && isFine(value)) return value
  throw new Error(`--${name}: got ${values[name]}, wanted ${wanted}`)
}

async function run(): Promise<void> {
  const options = {
    minutes: numberOf('minutes', (value) => value > 0 && value <= 60, 'minutes above 0, at most 60'),
    seed: numberOf('seed', (value) => Number.isSafeInteger(value), 'an integer'),
    hosts: numberOf('hosts', (value) => Number.isInteger(value) && value >= 1 && value <= 16, 'from 1 to 16'),
    keeps: values.keep,
  }
  if (!(await chaos(options))) process.exitCode = 1
}

if (values.help) {
  process.stdout.write(help)
} else {
  void untilStopped().then(async () => {
    await stopAll()
    process.exit(130)
  })
  try {
    await run()
  } catch (error) {
    console.error(error)
    process.exitCode = 1
  } finally {
    await stopAll()
  }
  // What is left of the storage clients' connections need not be waited for.
  await wait(0)
  process.exit()
}
