import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isStale } from '../../src/local/built.ts'

let rootDir: string

async function write(path: string, at: number): Promise<void> {
  await writeFile(join(rootDir, path), '')
  await utimes(join(rootDir, path), at, at)
}

beforeEach(async () => {
  rootDir = await mkdtemp(join(tmpdir(), 'built-'))
  for (const folder of ['src/core/jobs', 'dist/azure'])
    await mkdir(join(rootDir, folder), { recursive: true })
  for (const path of ['src/app.ts', 'src/core/jobs/job.ts', 'build.ts', 'host.json']) await write(path, 100)
  for (const folder of ['src', 'src/core', 'src/core/jobs']) await utimes(join(rootDir, folder), 100, 100)
  await write('dist/azure/functions.cjs', 200)
})

afterEach(async () => {
  await rm(rootDir, { recursive: true })
})

test('a bundle that is newer than all of its sources is not stale', async () => {
  expect(await isStale(rootDir)).toBe(false)
})

test.each(['src/app.ts', 'src/core/jobs/job.ts', 'host.json', 'src/core', 'package-lock.json'])(
  'one is stale when %s was changed since',
  async (path) => {
    if (path !== 'src/core') await write(path, 300)
    else await utimes(join(rootDir, path), 300, 300)
    expect(await isStale(rootDir)).toBe(true)
  },
)

test('one that is not there is stale, and so is one of the same moment as a source', async () => {
  await write('src/app.ts', 200)
  expect(await isStale(rootDir)).toBe(true)
  await write('src/app.ts', 100)
  await rm(join(rootDir, 'dist'), { recursive: true })
  expect(await isStale(rootDir)).toBe(true)
})
