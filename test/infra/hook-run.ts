import { execFile } from 'node:child_process'
import { chmod, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { rootDir } from '../architecture/sources.ts'

let dir: string

/** An azd that writes down what it was asked, and fails where STUB_AZD_FAILS says why. */
const stub = `#!${process.execPath}
const { appendFileSync } = require('node:fs')
if (process.env.STUB_AZD_FAILS) {
  console.error(process.env.STUB_AZD_FAILS)
  process.exit(1)
}
appendFileSync(process.env.STUB_AZD_LOG, JSON.stringify(process.argv.slice(2)) + '\\n')
`

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'darkroom-hooks-'))
  await writeFile(join(dir, 'azd'), stub)
  await chmod(join(dir, 'azd'), 0o755)
})

afterEach(async () => {
  await rm(dir, { recursive: true })
})

export type Run = {
  readonly code: number
  readonly text: string
  readonly asked: readonly (readonly string[])[]
}

/** Node as it is on Windows, as far as a hook can see. */
export const onWindows = {
  NODE_OPTIONS: `--import "data:text/javascript,Object.defineProperty(process,'platform',{value:'win32'})"`,
}

/** A clone in which `npm ci` was not run. */
export async function cloneWithoutPackages(): Promise<string> {
  const clone = join(dir, 'clone')
  for (const part of ['infra', 'src', 'package.json'])
    await cp(join(rootDir, part), join(clone, part), { recursive: true })
  return clone
}

/** As azd runs one: in its own folder, with azd's environment as variables. */
export async function hook(
  name: string,
  env: Readonly<Record<string, string>> = {},
  checkout = rootDir,
): Promise<Run> {
  const cwd = join(checkout, 'infra/hooks')
  const log = join(dir, 'log')
  const variables = { PATH: dir, AZURE_ENV_NAME: 'studio', STUB_AZD_LOG: log, ...env }
  return new Promise<Run>((resolve, reject) => {
    execFile(
      process.execPath,
      [join(cwd, `${name}.js`)],
      { cwd, env: variables },
      (error, output, errors) => {
        if (error !== null && typeof error.code !== 'number') {
          reject(error)
          return
        }
        const code = typeof error?.code === 'number' ? error.code : 0
        readFile(log, 'utf8').then(
          (lines) =>
            resolve({
              code,
              text: output + errors,
              asked: lines
                .trim()
                .split('\n')
                .map((line) => JSON.parse(line)),
            }),
          () => resolve({ code, text: output + errors, asked: [] }),
        )
      },
    )
  })
}

/** From here on in the test there is no azd. */
export async function removeAzd(): Promise<void> {
  await rm(join(dir, 'azd'))
}
