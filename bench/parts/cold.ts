import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { z } from 'zod'
import { fileOf } from '../../bundle.ts'
import type { Bench } from '../bench.ts'
import { untilDone } from '../progress.ts'
import { decimal, quantile, type Report } from '../report.ts'
import { apiKey, deploymentName } from '../work.ts'
import { World, type Storage } from '../world.ts'

const rootDir = join(import.meta.dirname, '../..')
const staged = (name: string): string => join(rootDir, 'dist/azure', name)

/** What the first call and the first token need is loaded for them. */
const later = ['openai', 'undici', '@azure/identity']
const bundle = [staged('functions.cjs'), ...later.map((name) => staged(fileOf(name)))]
const sources = [join(rootDir, 'src/functions/index.ts'), ...later]

/** Of what the sources cost. */
const shareMax = 0.25
/** Of one round; a round starts four processes. */
const roundLimitMs = 60_000

/** CPU ms of each thing that was loaded. */
type Loads = readonly number[]
/** The start of a worker, its first answer, and the one after it. */
type Answers = readonly { readonly cpuMs: number; readonly wallMs: number }[]

type Round = {
  readonly bundle: Loads
  readonly sources: Loads
  readonly health: Answers
  readonly work: Answers
}

export async function cold({ isQuick }: Bench): Promise<Report> {
  const wanted = isQuick ? 3 : 15
  execFileSync(process.execPath, [join(rootDir, 'build.ts')])
  await using world = new World()
  const storage = await world.storage()
  // What storage takes for its first answers is nobody's here, nor is a disk that has read nothing yet.
  await round(storage)
  const rounds: Round[] = []
  await untilDone({ what: 'cold', total: wanted, everyMs: 0, limitMs: roundLimitMs * wanted }, async () =>
    rounds.push(await round(storage)),
  )
  const share = medianOf(rounds, ({ bundle, sources }) => (bundle[0] ?? 0) / (sources[0] ?? 0))
  return {
    title: 'Cold start',
    method:
      `Processes that are new, ${wanted} rounds in turn, medians; CPU of the process, because wall time is that of the machine. ` +
      'Sources: `src/functions/index.ts` and its packages, not bundled. The bundle is loaded as Azure’s Node worker does it. ' +
      'For the second table the worker’s part has loaded some of Node’s own modules before.',
    tables: [loadTable(rounds), answerTable(rounds)],
    gates: [
      {
        name: 'loading the bundle over loading the sources',
        found: decimal(share, 3),
        wanted: `at most ${shareMax}`,
        isPassed: share <= shareMax,
      },
    ],
    remarks: [],
  }
}

function loadTable(rounds: readonly Round[]): Report['tables'][number] {
  const row = (name: string, costOf: (loads: Loads) => number): readonly string[] => [
    name,
    decimal(
      medianOf(rounds, ({ bundle }) => costOf(bundle)),
      0,
    ),
    decimal(
      medianOf(rounds, ({ sources }) => costOf(sources)),
      0,
    ),
    decimal(
      medianOf(rounds, ({ bundle, sources }) => costOf(bundle) / costOf(sources)),
      2,
    ),
  ]
  return {
    title: 'CPU ms of loading',
    head: ['what', 'bundle', 'sources', 'share'],
    rows: [
      row('at a cold start', (loads) => loads[0] ?? 0),
      ...later.map((name, index) => row(`later: ${name}`, (loads) => loads[index + 1] ?? 0)),
      row('all of it', (loads) => loads.reduce((sum, cost) => sum + cost, 0)),
    ],
  }
}

function answerTable(rounds: readonly Round[]): Report['tables'][number] {
  const row = (name: string, answersOf: (round: Round) => Answers): readonly string[] => {
    const cpuOf = (index: number) => medianOf(rounds, (round) => answersOf(round)[index]?.cpuMs ?? 0)
    const untilFirst = (what: 'cpuMs' | 'wallMs') =>
      medianOf(rounds, (round) =>
        answersOf(round)
          .slice(0, 2)
          .reduce((sum, answer) => sum + answer[what], 0),
      )
    const cells = [cpuOf(0), cpuOf(1), untilFirst('cpuMs'), untilFirst('wallMs'), cpuOf(2)]
    return [name, ...cells.map((cell) => decimal(cell, 0))]
  }
  return {
    title: 'A fresh worker’s first answers, from the bundle, on Azurite, without Entra ID',
    head: ['what', 'load, CPU ms', 'first, CPU ms', 'both, CPU ms', 'both, wall ms', 'second, CPU ms'],
    rows: [row('`/healthz`', ({ health }) => health), row('a message of work', ({ work }) => work)],
  }
}

async function round({ connectionString }: Storage): Promise<Round> {
  return {
    bundle: await load(bundle),
    sources: await load(sources),
    health: await first('health', connectionString),
    work: await first('work', connectionString),
  }
}

async function load(what: readonly string[]): Promise<Loads> {
  await using world = new World()
  const child = await world.child({ path: 'bench/cold/load-command.ts', args: what, ready: /^load: (.*)$/ })
  return z.array(z.number()).length(what.length).parse(JSON.parse(child.said))
}

async function first(kind: 'health' | 'work', connectionString: string): Promise<Answers> {
  await using world = new World()
  const child = await world.child({
    path: 'bench/cold/first-command.ts',
    args: [staged('functions.cjs'), kind],
    env: {
      AzureWebJobsStorage: connectionString,
      AZURE_OPENAI_ENDPOINT: 'https://bench.openai.azure.com',
      AZURE_OPENAI_DEPLOYMENT: deploymentName,
      AZURE_OPENAI_API_KEY: apiKey,
      IMAGE_MODEL: deploymentName,
      IMAGE_RPM: '60',
    },
    ready: /^first: (.*)$/,
  })
  return answersSchema.parse(JSON.parse(child.said))
}

const answersSchema = z.array(z.object({ cpuMs: z.number(), wallMs: z.number() })).length(3)

function medianOf(rounds: readonly Round[], valueOf: (round: Round) => number): number {
  return quantile(rounds.map(valueOf), 0.5)
}
