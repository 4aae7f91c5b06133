import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { say } from './progress.ts'

export const peerPackages = ['p-limit', 'p-queue', 'bottleneck', 'bullmq', 'ioredis'] as const

/** The peers are a package of their own, so that nobody who only uses Darkroom has to install them. */
export function installPeers(): void {
  if (peerPackages.every((name) => existsSync(join(import.meta.dirname, 'node_modules', name)))) return
  say('installing the peers')
  const isWindows = process.platform === 'win32'
  const { status } = spawnSync('npm', ['ci'], {
    cwd: import.meta.dirname,
    stdio: 'inherit',
    shell: isWindows,
  })
  if (status !== 0) throw new Error(`npm ci in bench/ ended with ${status}`)
}
