import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { beVerbose, stopAll } from '../src/local/child.ts'
import type { DarkroomRun } from './darkroom-run.ts'
import { facts } from './facts.ts'
import { installPeers } from './install.ts'
import { intake } from './intake.ts'
import { memory } from './memory.ts'
import { operations } from './operations.ts'
import { pace } from './pace.ts'
import { peers } from './peers.ts'
import { poll } from './poll.ts'
import { say } from './progress.ts'
import { markdownOf, type Report } from './report.ts'

const parts = ['pace', 'peers', 'intake', 'operations', 'poll', 'memory'] as const

type Part = (typeof parts)[number]

const help = `npm run bench [-- OPTIONS]

Measures Darkroom, and the peers that run in one process, on a simulated deployment. Everything runs on this machine and
costs nothing. A whole run takes about a quarter of an hour and writes bench/results.md.

  --only=PART,…   only these parts: ${parts.join(', ')}; results.md stays as it is
  --quick         fewer jobs and shorter bounds, to see whether it works; results.md stays as it is
  --verbose       what the processes print goes to standard error
  --help          this text

Ends with 1 when a gate fails.
`

const sizes = { jobsAt60: 120, jobsAt600: 600, limitMs: 270_000, intake: 5_000, operations: 300 }
const quickSizes: typeof sizes = {
  jobsAt60: 30,
  jobsAt600: 200,
  limitMs: 60_000,
  intake: 1_000,
  operations: 100,
}
const pollSizes = { small: 100, large: 10_000, samples: 500 }
const quickPollSizes: typeof pollSizes = { small: 100, large: 2_000, samples: 200 }
const memorySizes = { early: 1_000, late: 5_000 }
const quickMemorySizes: typeof memorySizes = { early: 200, late: 600 }

async function bench(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      quick: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(help)
    return
  }
  const wanted =
    values.only === undefined ? parts : parts.filter((part) => values.only?.split(',').includes(part))
  const unknown = values.only?.split(',').filter((name) => !parts.some((part) => part === name)) ?? []
  if (unknown.length > 0)
    throw new Error(`--only: got ${unknown.join(', ')}, wanted some of ${parts.join(', ')}`)
  if (values.verbose) beVerbose()
  if (wanted.includes('peers')) installPeers()
  const startedAt = performance.now()
  const reports = await runParts(wanted, values.quick)
  const minutes = ((performance.now() - startedAt) / 60_000).toFixed(1)
  const text = [
    '# Benchmarks',
    [...facts(), `The whole took ${minutes} minutes. Made by \`npm run bench\`.`]
      .map((fact) => `- ${fact}`)
      .join('\n'),
    ...reports.map(markdownOf),
  ].join('\n\n')
  process.stdout.write(`\n${text}\n`)
  if (values.only === undefined && !values.quick) {
    await writeFile(join(import.meta.dirname, 'results.md'), `${text.trimEnd()}\n`)
  }
  const failed = reports.flatMap(({ gates }) => gates.filter(({ isPassed }) => !isPassed))
  say(failed.length === 0 ? 'every gate passed' : `FAILED: ${failed.map(({ name }) => name).join('; ')}`)
  if (failed.length > 0) process.exitCode = 1
}

async function runParts(wanted: readonly Part[], isQuick: boolean): Promise<readonly Report[]> {
  const size = isQuick ? quickSizes : sizes
  let own: readonly DarkroomRun[] = []
  const run: Readonly<Record<Part, () => Promise<Report>>> = {
    pace: async () => {
      const { report, runs } = await pace(size)
      own = runs
      return report
    },
    peers: async () => peers(size, own),
    intake: async () => intake(size.intake),
    operations: async () => operations(size.operations),
    poll: async () => poll(isQuick ? quickPollSizes : pollSizes),
    memory: async () => memory(isQuick ? quickMemorySizes : memorySizes),
  }
  const reports: Report[] = []
  for (const part of wanted) {
    say(`\n${part}`)
    reports.push(await run[part]())
  }
  return reports
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => {
    void stopAll().finally(() => process.exit(code))
  })
}

try {
  await bench()
} catch (error) {
  say(error instanceof Error ? error.message : String(error))
  process.exitCode = 2
} finally {
  await stopAll()
}
