import { glob, readFile } from 'node:fs/promises'
import Module from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import type { FunctionApp } from './core-api.ts'

/**
 * Loads the files that `main` in package.json names, a path or a glob, so that they register their functions in `app`.
 *
 * A process loads a file once, and the library holds on to the first host it met. So one process can hold several
 * hosts only when each has its own bundle, started one after the other.
 */
export async function loadEntry(rootDir: string, app: FunctionApp): Promise<void> {
  const main = await readMain(rootDir)
  const files = await matchingFiles(rootDir, main)
  const release = supplyCoreModule(app.coreApi)
  try {
    for (const file of files) {
      try {
        await import(pathToFileURL(file).href)
      } catch (cause) {
        throw new Error(`the entry file ${file} threw: ${String(cause)}`, { cause })
      }
    }
  } finally {
    release()
  }
  app.seal()
  if (app.functions.size === 0) {
    throw new Error(
      `${files.join(', ')} registered no function; a process can load an entry file for one host only`,
    )
  }
}

async function readMain(rootDir: string): Promise<string> {
  const path = join(rootDir, 'package.json')
  const parsed = z
    .looseObject({ main: z.string().min(1) })
    .safeParse(JSON.parse(await readFile(path, 'utf8')))
  if (!parsed.success) throw new Error(`${path} needs "main", the path or glob of the function files`)
  return parsed.data.main
}

async function matchingFiles(rootDir: string, main: string): Promise<string[]> {
  const files: string[] = []
  for await (const file of glob(main, { cwd: rootDir })) files.push(join(rootDir, file))
  if (files.length === 0)
    throw new Error(`no file in ${rootDir} matches "main" in package.json, ${main}: build first`)
  return files.sort()
}

/**
 * `@azure/functions-core` is no package: the host supplies it to whoever requires it, as Azure's Node worker does.
 * The library requires it at its first use and keeps it, so it is needed only while the entry files load.
 */
export function supplyCoreModule(coreApi: object): () => void {
  // oxlint-disable-next-line typescript/unbound-method -- the proxy hands `this` on
  const original = Module.prototype.require
  Module.prototype.require = new Proxy(original, {
    apply: (target, self, args: [id: string]) =>
      args[0] === '@azure/functions-core' ? coreApi : Reflect.apply(target, self, args),
  })
  return () => {
    Module.prototype.require = original
  }
}
