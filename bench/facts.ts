import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { peerPackages } from './install.ts'

const packageSchema = z.object({ version: z.string() })

/** What the figures depend on beside the code; nothing that names the machine. */
export function facts(): readonly string[] {
  const processor = cpus()[0]?.model.trim() ?? ''
  return [
    `${new Date().toISOString().slice(0, 10)}, Node ${process.versions.node}, ${process.platform} ${process.arch}`,
    `${availableParallelism()} cores${processor === '' ? '' : ` (${processor})`}, ${Math.round(totalmem() / 2 ** 30)} GiB of memory`,
    versions('..', [
      'azurite',
      'openai',
      '@azure/data-tables',
      '@azure/storage-queue',
      '@azure/storage-blob',
    ]),
    versions('.', peerPackages),
    'Azurite, the simulated deployment, Redis, each host and each peer are processes of their own on this machine, all on loopback.',
  ]
}

function versions(folder: string, names: readonly string[]): string {
  const load = createRequire(join(import.meta.dirname, folder, 'package.json'))
  const found = names.map((name) => {
    const paths = load.resolve.paths(name) ?? []
    return `${name} ${versionIn(paths, name)}`
  })
  return found.join(', ')
}

function versionIn(paths: readonly string[], name: string): string {
  for (const path of paths) {
    try {
      return packageSchema.parse(JSON.parse(readFileSync(join(path, name, 'package.json'), 'utf8'))).version
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    }
  }
  return 'not installed'
}
