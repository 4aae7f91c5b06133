import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { accessMutations } from './access.ts'
import { intakeMutations } from './intake.ts'
import type { Mutation } from './mutation.ts'
import { ownerMutations } from './owners.ts'
import { stateMutations } from './states.ts'

const help = `npm run mutate [-- OPTIONS]

Takes rules out of the code, one by one, and runs the tests that must tell: rules about access, about whose things are
whose, and about which state of a job leads to which. It works on copies of the tree in a temporary folder; the tree
itself stays as it is. The tests are run once as they stand before, since a test that always fails tells nothing.

  --only=TEXT   the rules whose file, or whose reason, holds this text; may be given several times (all)
  --jobs=N      how many run at once, 1 to 8 (2)
  --list        show the rules, and take none out
  --help        this text

Ends with 1 when a rule is missed by nobody, when its text does not stand in its file exactly once, when no test has the
name that its tests are to have, or when the tests fail by themselves.
`

const rootDir = join(import.meta.dirname, '../..')

/** A test that never ends, because of what was taken out, tells as well. */
const patienceMs = 240_000

/** Without the storage that all tests share: to start it takes longer than most of these tests. */
const plainConfig = 'vitest.plain.config.ts'
const needsStorage = (test: string): boolean => test.startsWith('test/contract/')

type Verdict = 'killed' | 'survived' | 'not found' | 'untested'

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [''] },
    jobs: { type: 'string', default: '2' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

/** Ctrl-C ends what runs, and takes the copies away. */
const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')))

const mutations = [...accessMutations, ...ownerMutations, ...intakeMutations, ...stateMutations].filter(
  ({ file, why }) => values.only.some((text) => `${file} ${why}`.includes(text)),
)

if (values.help) process.stdout.write(help)
else if (values.list) for (const { file, why } of mutations) console.log(`${file}: ${why}`)
else process.exitCode = await mutateAll(readJobs(values.jobs))

function readJobs(text: string): number {
  const jobs = Number(text)
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= 8) return jobs
  throw new Error(`--jobs: got ${text}, wanted 1 to 8`)
}

async function mutateAll(jobs: number): Promise<number> {
  const startedAt = performance.now()
  const trees = await Promise.all(Array.from({ length: jobs }, copyTree))
  try {
    const tests = [...new Set(mutations.flatMap((each) => each.tests))]
    const [first = ''] = trees
    const plain = await runTests(first, { tests })
    if (!plain.isGreen) {
      console.log(plain.output)
      console.log('the tests fail with every rule in its place; mend that first')
      return 1
    }
    console.log(`${mutations.length} rules, ${tests.length} test files, green with every rule in its place`)
    const left = [...mutations]
    const verdicts: Verdict[] = []
    await Promise.all(
      trees.map(async (tree) => {
        for (let next = left.shift(); next !== undefined; next = left.shift()) {
          const verdict = await mutate(tree, next)
          verdicts.push(verdict)
          console.log(`${verdict.padEnd(9)}  ${next.file}: ${next.why}`)
        }
      }),
    )
    const count = (wanted: Verdict): number => verdicts.filter((each) => each === wanted).length
    const seconds = Math.round((performance.now() - startedAt) / 1_000)
    console.log(
      `${count('killed')} killed, ${count('survived')} survived, ${count('untested')} untested, ${count('not found')} not found; ${seconds} s`,
    )
    return count('killed') === mutations.length ? 0 : 1
  } finally {
    await Promise.all(trees.map(async (tree) => rm(tree, { recursive: true, force: true })))
  }
}

/** All but what is made, fetched or Git's. */
async function copyTree(): Promise<string> {
  const tree = await mkdtemp(join(tmpdir(), 'darkroom-mutate-'))
  const left = new Set(['node_modules', '.git', 'dist', 'coverage', '.azurite', '.azure'])
  const names = (await readdir(rootDir)).filter((name) => !left.has(name))
  await Promise.all(names.map(async (name) => cp(join(rootDir, name), join(tree, name), { recursive: true })))
  await symlink(join(rootDir, 'node_modules'), join(tree, 'node_modules'))
  await writeFile(
    join(tree, plainConfig),
    'export default { test: { testTimeout: 60_000, hookTimeout: 60_000 } }',
  )
  return tree
}

async function mutate(tree: string, { file, find, replace, ...which }: Mutation): Promise<Verdict> {
  const path = join(tree, file)
  const text = await readFile(path, 'utf8').catch(() => '')
  if (text.split(find).length !== 2) return 'not found'
  await writeFile(
    path,
    text.replace(find, () => replace),
  )
  try {
    const { isGreen, output } = await runTests(tree, which)
    if (!isGreen) return 'killed'
    // Where none was run, nothing was asked.
    return /\d+ passed/.test(output) ? 'survived' : 'untested'
  } finally {
    await writeFile(path, text)
  }
}

async function runTests(
  tree: string,
  { tests, named }: Pick<Mutation, 'tests' | 'named'>,
): Promise<{ readonly isGreen: boolean; readonly output: string }> {
  const vitest = join('node_modules', 'vitest', 'vitest.mjs')
  const only = named === undefined ? [] : ['--testNamePattern', named]
  const config = tests.some(needsStorage) ? [] : ['--config', plainConfig]
  const child = spawn(process.execPath, [vitest, 'run', '--bail=1', ...config, ...only, ...tests], {
    cwd: tree,
    signal: interrupted.signal,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: patienceMs,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (output += String(bytes)))
  // An abort is told by the end of the process as well.
  child.on('error', () => {})
  const [code] = await once(child, 'close')
  interrupted.signal.throwIfAborted()
  return { isGreen: code === 0, output }
}
