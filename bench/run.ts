import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Bench } from './bench.ts'
import type { Sizes } from './conditions.ts'
import { facts } from './facts.ts'
import { installPeers } from './install.ts'
import { newOwnRuns } from './own-runs.ts'
import { parts, steps, type Part } from './parts.ts'
import { beVerbose, stopAll } from '../src/local/child.ts'
import { say } from './progress.ts'
import { markdownOf, type Report } from './report.ts'

const help = `npm run bench [-- OPTIONS]

Measures Darkroom and its peers on a simulated deployment. Everything runs on this machine and costs nothing. A whole run
takes about half an hour and writes bench/results.md.

  --only=PART,…     only these parts: ${parts.map(({ name }) => name).join(', ')};
                    results.md stays as it is
  --runners=TEXT    of the peers, only those whose name has this in it; results.md stays as it is
  --quick           fewer jobs and shorter bounds, to see whether it works; results.md stays as it is
  --verbose         what the processes print goes to standard error
  --help            this text

A part that breaks is a failed gate; the others go on. Ends with 1 when a gate fails.
`

const sizes: Sizes = { at60: { jobs: 120, limitMs: 230_000 }, at600: { jobs: 600, limitMs: 110_000 } }
const quickSizes: Sizes = { at60: { jobs: 30, limitMs: 60_000 }, at600: { jobs: 200, limitMs: 40_000 } }

async function run(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      runners: { type: 'string' },
      quick: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(help)
    return
  }
  const wanted = partsNamed(values.only)
  if (values.verbose) beVerbose()
  if (wanted.some(({ name }) => /^(peers|kill)/.test(name))) installPeers()
  const isWhole = values.only === undefined && values.runners === undefined && !values.quick
  const chosen = values.quick ? quickSizes : sizes
  const reports = await runParts(wanted, {
    isQuick: values.quick,
    sizes: chosen,
    ownRuns: newOwnRuns(chosen),
    runnersLike: values.runners ?? '',
  })
  const text = textOf(reports)
  if (isWhole) await writeFile(join(import.meta.dirname, 'results.md'), `${text.trimEnd()}\n`)
  const failed = reports.flatMap(({ gates }) => gates.filter(({ isPassed }) => !isPassed))
  say(failed.length === 0 ? 'every gate passed' : `FAILED: ${failed.map(({ name }) => name).join('; ')}`)
  if (failed.length > 0) process.exitCode = 1
}

function partsNamed(only: string | undefined): readonly Part[] {
  if (only === undefined) return parts
  const names = only.split(',')
  const unknown = names.filter((name) => !parts.some((part) => part.name === name))
  if (unknown.length > 0) {
    const known = parts.map(({ name }) => name).join(', ')
    throw new Error(`--only: got ${unknown.join(', ')}, wanted some of ${known}`)
  }
  return parts.filter(({ name }) => names.includes(name))
}

async function runParts(wanted: readonly Part[], bench: Bench): Promise<readonly Report[]> {
  const reports: Report[] = []
  for (const step of steps) {
    const chosen = step.filter((part) => wanted.includes(part))
    const ended = await Promise.all(chosen.map(async (part) => runPart(part, bench)))
    // Told at once: whoever stops the rest keeps these.
    for (const report of ended) process.stdout.write(`\n${markdownOf(report)}\n`)
    reports.push(...ended)
  }
  return reports
}

/** A part that breaks must not take the others' figures along. */
async function runPart({ name, run }: Part, bench: Bench): Promise<Report> {
  say(`\n${name}`)
  const startedAt = performance.now()
  try {
    return await run(bench)
  } catch (error) {
    if (isStopping) throw error
    say(`${name} broke: ${error instanceof Error ? error.stack : String(error)}`)
    const found = error instanceof Error ? error.message : String(error)
    const gate = { name, found, wanted: 'figures', isPassed: false }
    return { title: name, method: 'This part broke.', tables: [], gates: [gate], remarks: [] }
  } finally {
    say(`${name} took ${minutesSince(startedAt)} minutes`)
  }
}

function textOf(reports: readonly Report[]): string {
  const told = [...facts(), `The whole took ${minutesSince(0)} minutes. Made by \`npm run bench\`.`]
  return ['# Benchmarks', told.map((fact) => `- ${fact}`).join('\n'), ...reports.map(markdownOf)].join('\n\n')
}

/** Since a time of `performance.now()`, which begins with this process. */
function minutesSince(startedAt: number): string {
  return ((performance.now() - startedAt) / 60_000).toFixed(1)
}

let isStopping = false

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => {
    isStopping = true
    say('stopping')
    void stopAll().finally(() => process.exit(code))
  })
}

try {
  await run()
} catch (error) {
  say(error instanceof Error ? error.message : String(error))
  process.exitCode = 2
} finally {
  await stopAll()
}
