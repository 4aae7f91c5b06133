import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { deflateRawSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { onDemand, fileOf } from '../../bundle.ts'
import { startAzurite } from '../../src/local/azurite/azurite.ts'
import type { Asked } from './fixtures/identity-command.ts'
import type { Found } from './fixtures/worker-command.ts'
import { node22 } from './node-22.ts'

const rootDir = join(import.meta.dirname, '../..')
const run = promisify(execFile)

/** The staged files, in a folder of their own. */
let folder = ''
let entry = ''
let ofSources: Found

beforeAll(async () => {
  await run(process.execPath, [join(rootDir, 'build.ts')])
  folder = join(await realpath(await mkdtemp(join(tmpdir(), 'darkroom-staged-'))), 'app')
  await cp(join(rootDir, 'dist/azure'), folder, { recursive: true })
  const { main } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
  entry = join(folder, main)
  ofSources = await load(process.execPath, join(rootDir, 'src/functions/index.ts'))
}, 120_000)

afterAll(async () => {
  await rm(dirname(folder), { recursive: true, force: true })
})

async function load(node: string, path: string, also?: string, env?: Settings): Promise<Found> {
  return answerOf(node, 'worker-command.ts', also === undefined ? [path] : [path, also], env)
}

type Settings = Readonly<Record<string, string>>

/** What the fixture's process prints. Nothing of this one reaches it: NODE_PATH would be a way out of the folder. */
async function answerOf<Answer>(
  node: string,
  fixture: string,
  args: readonly string[],
  env?: Settings,
): Promise<Answer> {
  const command = join(import.meta.dirname, 'fixtures', fixture)
  const { stdout } = await run(node, ['--disable-warning=ExperimentalWarning', command, ...args], {
    env: { PATH: process.env['PATH'], ...env },
  })
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
}

describe('the staged folder', () => {
  test('holds what Azure needs, and nothing else', async () => {
    const names = ['functions.cjs', 'host.json', 'package.json', ...onDemand.map(fileOf)]
    expect((await readdir(folder)).toSorted()).toEqual(names.toSorted())
    const { version } = JSON.parse(await readFile(join(rootDir, 'package.json'), 'utf8'))
    expect(JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))).toEqual({
      name: 'darkroom',
      private: true,
      version,
      main: 'functions.cjs',
    })
    expect(await readFile(join(folder, 'host.json'), 'utf8')).toBe(
      await readFile(join(rootDir, 'host.json'), 'utf8'),
    )
  })

  test('is under 1.5 MB in a zip', async () => {
    const names = await readdir(folder)
    const packed = names.map(async (name) => {
      // A file's two headers are 76 bytes and twice its name.
      return deflateRawSync(await readFile(join(folder, name))).length + 2 * name.length + 76
    })
    const zipBytes = (await Promise.all(packed)).reduce((sum, bytes) => sum + bytes, 22)
    expect(zipBytes).toBeLessThan(1_500_000)
  })

  test('is what the local host loads', async () => {
    const { main } = JSON.parse(await readFile(join(rootDir, 'package.json'), 'utf8'))
    expect(main).toBe('dist/azure/functions.cjs')
  })

  test('has no packages above it in these tests', () => {
    for (let path = folder; path !== dirname(path); path = dirname(path)) {
      expect(existsSync(join(dirname(path), 'node_modules'))).toBe(false)
    }
  })
})

describe.each([
  ['22', node22],
  ['24', () => process.execPath],
])('in Node %s', (version, nodeOf) => {
  let node = ''

  beforeAll(() => {
    node = nodeOf()
  }, 300_000)

  test('it registers the functions of the sources, and takes nothing from outside', async () => {
    const found = await load(node, entry)
    expect(found.node).toMatch(new RegExp(`^${version}\\.`))
    expect(found.functions).toEqual(ofSources.functions)
    expect(found.functions.length).toBeGreaterThan(30)
    expect(found.outside).toEqual([])
    expect(found.loaded['start']).toEqual(['functions.cjs'])
  })

  test('all of its files load, and take nothing from outside', async () => {
    expect((await load(node, entry, 'all')).outside).toEqual([])
  })

  test('the model’s client is loaded by a message of work before its slot, and not by a request', async () => {
    const azurite = await startAzurite({})
    try {
      const found = await load(node, entry, 'run', {
        AzureWebJobsStorage: azurite.connectionString,
        AZURE_OPENAI_ENDPOINT: 'https://studio.openai.azure.com',
        AZURE_OPENAI_DEPLOYMENT: 'images',
        AZURE_OPENAI_API_KEY: 'secret',
        IMAGE_MODEL: 'gpt-image-2',
        IMAGE_RPM: '60',
      })
      expect(found.health).toBe(200)
      expect(found.loaded['a request']).toEqual(['functions.cjs'])
      expect(found.loaded['a message of work']).toEqual(['functions.cjs', 'openai.cjs', 'undici.cjs'])
      expect(found.outside).toEqual([])
    } finally {
      await azurite.stop()
    }
  })

  test('with a managed identity its package is loaded, and storage gets the identity’s token', async () => {
    const asked = await answerOf<Asked>(node, 'identity-command.ts', [entry])
    expect(asked.loaded).toEqual(['functions.cjs', 'azure-identity.cjs'])
    expect(asked.tokens).toMatchObject({
      'studio.blob.core.windows.net': 'Bearer for https://storage.azure.com',
    })
  })
})
