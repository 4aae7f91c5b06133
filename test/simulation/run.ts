import { availableParallelism } from 'node:os'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { foulWeather } from './scenarios.ts'
import { seedOnPlatform } from './platform/foul-platform.ts'
import { simulate } from './world.ts'

const help = `npm run simulate [-- OPTIONS]

Runs the whole pipeline in virtual time, on simulated storage, with everything dying, failing and coming late, and holds
every law at every step. One run a seed; one in ten runs a second time where the platform starts and takes away instances.

  --seeds=N        how many seeds, from --from on (1000)
  --from=N         the first seed (0)
  --help           this text

Ends with 1 when a seed breaks a law, and names it.
`

const everyPlatform = 10

type Share = { readonly from: number; readonly to: number; readonly step: number }
type Told = { readonly seed: number; readonly where: string; readonly fault: string | null }

async function runShare({ from, to, step }: Share): Promise<void> {
  for (let seed = from; seed < to; seed += step) {
    await tell(seed, 'one app', async () => simulate(foulWeather(seed)))
    if (seed % everyPlatform === 0) await tell(seed, 'platform', async () => seedOnPlatform(seed))
  }
}

async function tell(seed: number, where: string, act: () => Promise<unknown>): Promise<void> {
  let fault: string | null = null
  try {
    await act()
  } catch (error) {
    fault = error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
  process.send?.({ seed, where, fault } satisfies Told)
}

function wholeNumber(name: string, value: string): number {
  const number = Number(value)
  if (Number.isInteger(number) && number >= 0) return number
  console.error(`--${name} is ${value}: give a whole number, 0 or more. --help says more.`)
  process.exit(2)
}

async function runAll(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '1000' },
      from: { type: 'string', default: '0' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(help)
    return 0
  }
  const from = wholeNumber('from', values.from)
  const to = from + wholeNumber('seeds', values.seeds)
  const startedAt = Date.now()
  const failed: Told[] = []
  let runs = 0
  const step = availableParallelism()
  const children = Array.from({ length: step }, (_, index): ChildProcess => {
    const share: Share = { from: from + index, to, step }
    const child = fork(fileURLToPath(import.meta.url), [], {
      env: { ...process.env, SIMULATION_SHARE: JSON.stringify(share) },
    })
    child.on('message', (told: Told) => {
      runs += 1
      if (told.fault !== null) {
        failed.push(told)
        console.error(`seed ${told.seed}, ${told.where}: ${told.fault}`)
      }
      if (process.stderr.isTTY) process.stderr.write(`\rsimulate: ${runs} runs, ${failed.length} broken `)
    })
    return child
  })
  const ends = await Promise.all(children.map(async (child) => once(child, 'exit')))
  const died = ends.filter(([code]) => code !== 0).length
  const seconds = Math.round((Date.now() - startedAt) / 1_000)
  console.log(
    `\nsimulate: seeds ${from} to ${to - 1}, ${runs} runs, ${failed.length} broke a law, ${seconds} s`,
  )
  if (died > 0) console.error(`simulate: ${died} of ${step} processes died`)
  return failed.length === 0 && died === 0 && to > from ? 0 : 1
}

const share = process.env['SIMULATION_SHARE']
if (share === undefined) process.exitCode = await runAll()
else {
  const parsed: Share = JSON.parse(share)
  await runShare(parsed)
  process.disconnect()
}
