import { readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { settingTable } from '../../src/settings/table.ts'
import { rootDir } from '../architecture/sources.ts'
import { breaks } from './breaks.ts'
import { startCompiler, type Compiler } from './compiler.ts'
import { bicepFiles, withEvaluators, type Evaluate, type Evaluated } from './evaluated.ts'
import { faultsOf, settingsIn } from './expectations.ts'
import { bicepPath, NoCompiler } from './sdk.ts'
import { parameterSets, refusedSets, setNames, type SetName } from './sets.ts'

const help = `npm run infra

Compiles and lints infra/, and holds what it would make, for several sets of parameters, against what is wanted: resources,
roles, secrets, access, and every setting. Nothing is sent to Azure. It wants a .NET SDK, which fetches the compiler.
`

const infraDir = join(rootDir, 'infra')

type Sets = ReadonlyMap<SetName, Evaluated>

function say(line: string): void {
  console.log(`infra: ${line}`)
}

async function faultsFound(): Promise<readonly string[]> {
  const startedAt = performance.now()
  await using compiler = startCompiler(await bicepPath())
  const unclean = [
    ...(await compiler.diagnostics(join(infraDir, 'main.bicep'))),
    ...(await unformatted(compiler)),
  ]
  if (unclean.length > 0) return unclean
  say('it compiles, is formatted, and no rule of the linter has anything to say')
  return await withEvaluators(compiler, infraDir, async ({ open, asItIs }) => {
    const sets = await evaluated(open)
    const faults = [
      ...[...sets].flatMap(([set, found]) => faultsOf(set, found).map((fault) => `${set}: ${fault}`)),
      ...faultsBetween(sets),
      // azd evaluates it like this before it deploys.
      ...refusal(await asItIs(parameterSets.list)),
      ...(await taken(open)),
    ]
    const seconds = Math.round((performance.now() - startedAt) / 1_000)
    const count = [...sets.values()].reduce((sum, found) => sum + found.predictedResources.length, 0)
    say(
      `${count} resources of ${sets.size} sets of parameters, and ${refusedSets.length} sets that are refused: ${seconds} s`,
    )
    return faults.length > 0 ? faults : unnoticed(sets)
  })
}

async function unformatted(compiler: Compiler): Promise<readonly string[]> {
  const faults: string[] = []
  for (const path of await bicepFiles(infraDir)) {
    // A checkout on Windows may end its lines in another way.
    const [wanted, found] = [await compiler.formatted(path), await readFile(path, 'utf8')].map((text) =>
      text.replaceAll('\r\n', '\n'),
    )
    if (wanted !== found) faults.push(`${relative(rootDir, path)} is not as \`bicep format\` has it`)
  }
  return faults
}

async function evaluated(evaluate: Evaluate): Promise<Sets> {
  const sets = new Map<SetName, Evaluated>()
  for (const set of setNames) {
    const found = await evaluate(parameterSets[set])
    if ('refused' in found) throw new Error(`the parameters of ${set} are refused: ${found.refused}`)
    sets.set(set, found)
  }
  return sets
}

/** What no set shows by itself. */
function faultsBetween(sets: Sets): readonly string[] {
  const namesOf = (set: SetName): readonly string[] =>
    (sets.get(set)?.predictedResources ?? [])
      .filter(({ type }) => !type.endsWith('/roleAssignments'))
      .map(({ name }) => name)
  const others = namesOf('again').filter((name) => !namesOf('plain').includes(name))
  const renamed = others.map((name) => name.replace(/-[a-z0-9]{13}\b/, '-…'))
  const wanted = ['oai-darkroom-…', 'oai-darkroom-…/gpt-image-2']
  const set = new Set(
    [...sets.values()].flatMap((found) => Object.keys(settingsIn(found.predictedResources))),
  )
  const unset = settingTable.filter(({ name, inAzure }) => inAzure !== 'never' && !set.has(name))
  return [
    ...(isDeepStrictEqual(renamed, wanted)
      ? []
      : [`after azd down other names: found ${renamed.join(', ')}; wanted ${wanted.join(', ')}`]),
    ...unset.map(({ name }) => `${name} is set by no set of parameters`),
  ]
}

/** A check that finds nothing may look at nothing: each break of something sound must be found. */
function unnoticed(sets: Sets): readonly string[] {
  return breaks.flatMap(({ what, set, change }) => {
    const sound = sets.get(set)
    if (sound === undefined) return [`there is no set ${set}`]
    const broken = structuredClone(sound)
    change(broken)
    return faultsOf(set, broken).length > faultsOf(set, sound).length
      ? []
      : [`nobody would notice that ${what}`]
  })
}

function refusal(found: Awaited<ReturnType<Evaluate>>): readonly string[] {
  return 'refused' in found ? [`with its secrets hidden it cannot be evaluated: ${found.refused}`] : []
}

/** Bad values that are taken, or refused without a word of the parameter that has them. */
async function taken(evaluate: Evaluate): Promise<readonly string[]> {
  const faults: string[] = []
  for (const [name, parameters] of refusedSets) {
    const found = await evaluate(parameters)
    if (!('refused' in found)) faults.push(`${name}: a bad value was taken: ${JSON.stringify(parameters)}`)
    else if (!found.refused.includes(name)) faults.push(`${name}: refused without its name: ${found.refused}`)
  }
  return faults
}

if (process.argv.includes('--help')) {
  console.log(help)
} else {
  try {
    const faults = await faultsFound()
    for (const fault of faults) console.error(`infra: ${fault}`)
    if (faults.length > 0) process.exitCode = 1
  } catch (error) {
    if (!(error instanceof NoCompiler)) throw error
    console.error(`infra: ${error.message}`)
    process.exitCode = 1
  }
}
