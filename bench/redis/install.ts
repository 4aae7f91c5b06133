import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { say } from '../progress.ts'

export type RedisProgram =
  | { readonly kind: 'found'; readonly path: string; readonly libraries: string }
  | { readonly kind: 'missing'; readonly why: string }

/**
 * The machine's own Redis, or one that is unpacked from the distribution's packages beside the peers: nothing is
 * installed, no service is set up, and it needs no rights.
 */
export function findRedis(): RedisProgram {
  const own = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'redis-server'))
    .find((path) => existsSync(path))
  if (own !== undefined) return { kind: 'found', path: own, libraries: '' }
  const unpacked = unpackedIn(folder)
  if (unpacked !== undefined) return unpacked
  say('unpacking Redis')
  const why = unpack()
  return why === undefined
    ? (unpackedIn(folder) ?? missing('its packages hold no redis-server'))
    : missing(why)
}

const folder = join(import.meta.dirname, '..', 'node_modules', '.cache', 'redis')
/** Debian's server is a link to a program of the tools' package; the libraries are those that a bare system lacks. */
const packages = ['redis-server', 'redis-tools', 'libjemalloc2', 'liblzf1']
const limitMs = 120_000

function unpack(): string | undefined {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(folder, 'lists', 'partial'), { recursive: true })
  mkdirSync(join(folder, 'cache', 'archives', 'partial'), { recursive: true })
  // Lists of the machine are used where there are some; otherwise its own are fetched into the folder.
  const own = [
    '-o',
    `Dir::State::Lists=${join(folder, 'lists')}`,
    '-o',
    `Dir::Cache=${join(folder, 'cache')}`,
  ]
  const why =
    run('apt-get', ['-q', 'download', ...packages]) &&
    (run('apt-get', [...own, '-q', 'update']) ?? run('apt-get', [...own, '-q', 'download', ...packages]))
  if (why !== undefined) return why
  for (const name of readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
    const why = run('dpkg-deb', ['-x', name, folder])
    if (why !== undefined) return why
  }
  return undefined
}

/** Why it did not end well. */
function run(command: string, args: readonly string[]): string | undefined {
  const { status, error, stderr } = spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    timeout: limitMs,
  })
  if (error !== undefined) return `${command}: ${error.message}`
  return status === 0
    ? undefined
    : `${command} ended with ${status}: ${stderr.trim().split('\n').at(-1) ?? ''}`
}

function unpackedIn(folder: string): RedisProgram | undefined {
  const path = join(folder, 'usr', 'bin', 'redis-server')
  if (!existsSync(path)) return undefined
  const lib = join(folder, 'usr', 'lib')
  const libraries = [lib, ...readdirSync(lib).map((name) => join(lib, name))].join(delimiter)
  return { kind: 'found', path, libraries }
}

function missing(why: string): RedisProgram {
  return { kind: 'missing', why }
}
