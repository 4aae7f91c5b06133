import { execFile } from 'node:child_process'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Files beside `src` that decide on the bundle. */
const ingredients = ['bundle.ts', 'build.ts', 'host.json', 'package.json', 'package-lock.json']

/** Builds the bundle that Azure would load, unless the one that is there is newer than all that it is made of. */
export async function buildWhenStale(rootDir: string): Promise<void> {
  if (!(await isStale(rootDir))) return
  // In a process of its own: what it takes would stay with whoever asked.
  await run(process.execPath, [join(rootDir, 'build.ts')])
}

export async function isStale(rootDir: string): Promise<boolean> {
  const builtAt = await changedAt(join(rootDir, 'dist/azure/functions.cjs'))
  if (builtAt === undefined) return true
  const inSrc = await readdir(join(rootDir, 'src'), { recursive: true })
  // Folders change with what is added to them, and taken from them.
  const paths = [...ingredients, 'src', ...inSrc.map((path) => join('src', path))]
  const times = await Promise.all(paths.map(async (path) => changedAt(join(rootDir, path))))
  return times.some((time) => time !== undefined && time >= builtAt)
}

async function changedAt(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mtimeMs
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
