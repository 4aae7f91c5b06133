import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { bundleFunctions } from './bundle.ts'

const rootDir = import.meta.dirname
/** All that Azure gets. The local host loads the same bundle from here: package.json names it as `main`. */
const stageDir = join(rootDir, 'dist/azure')

/** Stages the function app. Each file is swapped in whole, and the one that asks for the others comes after them. */
async function stage(): Promise<void> {
  const files = [
    ...(await bundleFunctions()).toReversed(),
    { name: 'host.json', contents: await readFile(join(rootDir, 'host.json')) },
    { name: 'package.json', contents: await stagedPackage() },
  ]
  await mkdir(stageDir, { recursive: true })
  for (const { name, contents } of files) {
    const draft = join(rootDir, 'dist', `${name}.${process.pid}`)
    await writeFile(draft, contents)
    await rename(draft, join(stageDir, name))
  }
  const stale = (await readdir(stageDir)).filter((name) => !files.some((file) => file.name === name))
  await Promise.all(stale.map(async (name) => rm(join(stageDir, name), { recursive: true, force: true })))
}

/** No dependencies: a host that sees some would install them. */
async function stagedPackage(): Promise<string> {
  const { name, version } = JSON.parse(await readFile(join(rootDir, 'package.json'), 'utf8'))
  return `${JSON.stringify({ name, private: true, version, main: 'functions.cjs' })}\n`
}

await stage()
process.stdout.write(`built ${relative(rootDir, stageDir)}\n`)
