import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { join } from 'node:path'

const folder = join(import.meta.dirname, 'node-22')

/**
 * The path of a Node 22. It is a package of its own, installed when it is first needed: beside Node 24, both would be
 * `node` to npm's scripts. Throws where it cannot be had, so that nobody takes what was not tried for tried.
 */
export function node22(): string {
  const there = installed()
  if (there !== undefined) return there
  const isWindows = process.platform === 'win32'
  const { status, stderr } = spawnSync('npm', ['ci'], { cwd: folder, encoding: 'utf8', shell: isWindows })
  const path = installed()
  if (path !== undefined) return path
  const why = stderr?.trim().split('\n').at(-1) ?? ''
  throw new Error(
    `Node 22 is not here, so the staged folder was not loaded in it: \`npm ci\` in test/package/node-22 ended with ${status} and ` +
      `left no Node for ${process.platform} ${process.arch}. Is the npm registry in reach? ${why}`,
  )
}

function installed(): string | undefined {
  const [found] = globSync('node_modules/node-*/bin/{node,node.exe}', { cwd: folder })
  return found === undefined ? undefined : join(folder, found)
}
