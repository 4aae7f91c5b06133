import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const rootDir = join(import.meta.dirname, '../..')
const lines = readFileSync(join(rootDir, '.funcignore'), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))

/** As Core Tools match, by a file's path from its start on. Source: their `GitIgnoreParser.cs`. */
function isLeftOut(path: string): boolean {
  return lines.some((line) => new RegExp(`^${patternOf(line)}`).test(path))
}

function patternOf(line: string): string {
  return line.replace(/[.$^+?()[\]{}|\\]/g, String.raw`\$&`).replaceAll('*', '[^/]+')
}

test('Core Tools upload what Azure needs, and nothing else that is in the repository or comes to lie beside it', () => {
  const tracked = execFileSync('git', ['ls-files'], { cwd: rootDir, encoding: 'utf8' }).trim().split('\n')
  const others = [
    'node_modules/zod/index.js',
    'coverage/index.html',
    'demo-output/1.png',
    'local.settings.json',
  ]
  const built = ['dist/azure/functions.cjs', 'dist/azure/openai.cjs']
  const uploaded = [...tracked, ...others, ...built].filter((path) => !isLeftOut(path))
  expect(uploaded.toSorted()).toEqual(['LICENSE', ...built, 'host.json', 'package.json'])
})

// azd refuses the `remoteBuild: false` of azure.yaml where the folder `node_modules` is left out. It asks about the folder
// alone, not about what is in it. Source: its `resolveFunctionAppRemoteBuild`, and the `Match` of its go-gitignore.
test('no line leaves out node_modules itself, which azd takes for a wish to build in Azure', () => {
  const wishes = lines.filter((line) =>
    new RegExp(`^${patternOf(line.replace(/^\/|\/$/g, ''))}$`).test('node_modules'),
  )
  expect(wishes).toEqual([])
})
