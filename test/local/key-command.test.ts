import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { newKey } from '../../src/local/api-key.ts'
import { rootDir } from '../architecture/sources.ts'

let dir: string

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'darkroom-key-'))
})

afterEach(async () => {
  await rm(dir, { recursive: true })
})

/** An azd whose environment is the file `values`. */
async function stubAzd(values: Readonly<Record<string, string>>): Promise<void> {
  await writeFile(join(dir, 'values'), JSON.stringify(values))
  await writeFile(
    join(dir, 'azd'),
    `#!${process.execPath}
const { readFileSync, writeFileSync } = require('node:fs')
const path = ${JSON.stringify(join(dir, 'values'))}
const values = JSON.parse(readFileSync(path, 'utf8'))
const [, , group, verb, name, value] = process.argv
if (group !== 'env' || values.FAILS === verb) {
  console.error('ERROR: ' + verb + ' is refused')
  process.exit(1)
}
if (verb === 'get-values') console.log(JSON.stringify(values))
else writeFileSync(path, JSON.stringify({ ...values, [name]: value }))
`,
  )
  await chmod(join(dir, 'azd'), 0o755)
}

async function keysInAzd(): Promise<unknown> {
  const values: { DARKROOM_API_KEYS: string } = JSON.parse(await readFile(join(dir, 'values'), 'utf8'))
  return JSON.parse(values.DARKROOM_API_KEYS)
}

type Ran = { readonly code: number | null; readonly output: string; readonly errors: string }

async function command(
  args: readonly string[],
  { stdin = '', env = {} }: { stdin?: string; env?: Readonly<Record<string, string>> } = {},
): Promise<Ran> {
  const child = spawn(process.execPath, [join(rootDir, 'src/local/key-command.ts'), ...args], {
    env: { PATH: dir, ...env },
  })
  child.stdin.end(stdin)
  const code = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: await code, output, errors }
}

function hashOfShown(shown: string): string {
  const [, key = ''] = /^ {2}(dk_[\w-]{43})$/m.exec(shown) ?? []
  return createHash('sha256').update(key).digest('hex')
}

test('a key joins those of the environment, and the setting is shown as it should be', async () => {
  const { sha256 } = newKey()
  const { code, output } = await command(['studio', '--weight', '2'], {
    env: { DARKROOM_API_KEYS: JSON.stringify({ ops: sha256 }) },
  })
  expect(code).toBe(0)
  const [, setting = ''] = /in the environment:\n\n {2}(\{.*\})\n/.exec(output) ?? []
  expect(JSON.parse(setting)).toEqual({ ops: sha256, studio: { sha256: hashOfShown(output), weight: 2 } })
})

test('from stdin to stdout goes the setting alone; the key is told beside it', async () => {
  const { sha256 } = newKey()
  const stdin = `${JSON.stringify({ ops: { sha256, admin: true } })}\n`
  const { code, output, errors } = await command(['ops', '--rotate', '--stdin'], { stdin })
  expect([code, JSON.parse(output)]).toEqual([0, { ops: { sha256: hashOfShown(errors), admin: true } }])
})

test('in the environment of azd keys are added, rotated and taken away', async () => {
  const { sha256 } = newKey()
  await stubAzd({
    AZURE_ENV_NAME: 'studio',
    DARKROOM_API_KEYS: JSON.stringify({ ops: { sha256, admin: true } }),
  })
  const added = await command(['studio', '--azd'])
  expect([added.code, added.output]).toEqual([0, expect.stringContaining('Now: azd provision')])
  expect(await keysInAzd()).toEqual({ ops: { sha256, admin: true }, studio: hashOfShown(added.output) })
  const rotated = await command(['ops', '--rotate', '--azd'])
  expect(await keysInAzd()).toEqual({
    ops: { sha256: hashOfShown(rotated.output), admin: true },
    studio: hashOfShown(added.output),
  })
  const removed = await command(['ops', '--remove', '--azd'])
  expect([removed.code, removed.output]).toEqual([0, expect.not.stringContaining('dk_')])
  expect(await keysInAzd()).toEqual({ studio: hashOfShown(added.output) })
})

test('the first key joins nothing', async () => {
  await stubAzd({})
  const { output } = await command(['--azd', '--admin'])
  expect(await keysInAzd()).toEqual({ main: { sha256: hashOfShown(output), admin: true } })
})

test('a key whose hash azd did not keep is not shown', async () => {
  await stubAzd({ FAILS: 'set' })
  const { code, output, errors } = await command(['studio', '--azd'])
  expect([code, output, errors]).toEqual([1, '', 'azd env set failed: ERROR: set is refused\n'])
})

test.each([
  ['azd is missing', {}, 'azd env get-values failed: there is no azd on this machine'],
  [
    'azd has no environment',
    { FAILS: 'get-values' },
    'azd env get-values failed: ERROR: get-values is refused',
  ],
  ['its keys are no JSON', { DARKROOM_API_KEYS: '{' }, 'DARKROOM_API_KEYS is not JSON; mend it first'],
])('where %s the message says so', async (what, values, message) => {
  if (what !== 'azd is missing') await stubAzd(values)
  const { code, output, errors } = await command(['studio', '--azd'])
  expect([code, output, errors]).toEqual([1, '', `${message}\n`])
})

test.each([
  [['--save', '--azd'], '--save and --azd exclude each other'],
  [['--rotate', '--remove'], '--rotate and --remove exclude each other'],
  [['--rotate', '--admin'], '--rotate changes nothing else about a key'],
  [['a', 'b'], 'one name is enough; got b too'],
  [['--rotat'], "Unknown option '--rotat'"],
  [['--weight', 'abc'], '--weight: found abc; wanted a number from 0.01 to 100'],
  [['--weight', ''], '--weight: found ""; wanted a number from 0.01 to 100'],
  [['--weight', '0x10'], '--weight: found 0x10; wanted a number from 0.01 to 100'],
  [['--weight', '101'], '--weight: found 101; wanted a number from 0.01 to 100'],
  [['', '--azd'], 'NAME: found ""; wanted 1 to 32 of a-z 0-9 -'],
  [['bad name!', '--rotate'], 'NAME: found "bad name!"; wanted 1 to 32 of a-z 0-9 -'],
  [[`dk_${'s'.repeat(43)}`], 'NAME: found 46 characters; wanted 1 to 32 of a-z 0-9 -'],
])('%j is refused before anything is made', async (args, message) => {
  const { code, output, errors } = await command(args)
  expect([code, output]).toEqual([1, ''])
  expect(errors).toContain(message)
  expect(errors).toContain('npm run key [-- NAME] [OPTIONS]')
})

test('a name that cannot be one is taken away all the same', async () => {
  const { sha256 } = newKey()
  const stdin = JSON.stringify({ 'bad name!': sha256, ops: sha256 })
  const { code, output } = await command(['bad name!', '--remove', '--stdin'], { stdin })
  expect([code, JSON.parse(output)]).toEqual([0, { ops: sha256 }])
})

test.each([
  [['studio'], { npm_config_azd: 'true' }, '--azd', 'studio --azd'],
  [
    ['ops'],
    { npm_config_rotate: 'true', npm_config_stdin: 'true' },
    '--rotate, --stdin',
    'ops --rotate --stdin',
  ],
  [['ops'], { npm_config_remove: 'true' }, '--remove', 'ops --remove'],
  [
    ['ci', '2'],
    { npm_config_read_only: 'true', npm_config_weight: 'true' },
    '--read-only, --weight N',
    'ci --read-only --weight N',
  ],
  [['ci'], { npm_config_weight: '2' }, '--weight 2', 'ci --weight 2'],
  [[], { npm_config_admin: 'true' }, '--admin', '--admin'],
])(
  'options of %j that npm took for itself are refused with the way out',
  async (args, env, taken, wanted) => {
    const { code, output, errors } = await command(args, { env })
    expect([code, output]).toEqual([1, ''])
    expect(errors).toContain(`npm took ${taken} for itself, and nothing was done`)
    for (const way of ['npm.cmd run key --', 'node src/local/key-command.ts'])
      expect(errors).toContain(`${way} ${wanted} `)
  },
)

test('what npm says of itself in the environment is no option', async () => {
  const env = { npm_config_save: '', npm_config_azd: '', npm_config_user_agent: 'npm/11' }
  expect(await command(['studio'], { env })).toMatchObject({ code: 0, errors: '' })
})

test('npm itself, asked without --, does hand them on like this', async () => {
  const script = 'console.log(JSON.stringify([process.argv.slice(1), process.env.npm_config_azd]))'
  await writeFile(join(dir, 'package.json'), JSON.stringify({ scripts: { key: `node -e '${script}'` } }))
  const child = spawn('npm', ['run', '--silent', 'key', 'studio', '--azd'], { cwd: dir })
  expect(JSON.parse(await text(child.stdout))).toEqual([['studio'], 'true'])
})

test('--help names every option', async () => {
  const { code, output } = await command(['--help'])
  expect(code).toBe(0)
  for (const option of ['admin', 'read-only', 'weight', 'rotate', 'remove', 'save', 'azd', 'stdin']) {
    expect(output).toMatch(new RegExp(`^ {2}--${option}\\b`, 'm'))
  }
})
