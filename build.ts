import { mkdir, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { build } from 'esbuild'

const rootDir = import.meta.dirname
const entry = join(rootDir, 'src/functions/index.ts')
const bundle = join(rootDir, 'dist/functions.cjs')

/**
 * Bundles the functions into the one file that package.json names as `main`, for Azure and the local host alike.
 * CommonJS, because named imports from `@azure/functions` fail in some Node versions' ES modules.
 * `@azure/functions-core` exists only inside a host, which supplies it when it loads the file.
 * The file is swapped in whole, so a host that starts during a build reads the old bundle or the new one.
 */
async function buildBundle(): Promise<string> {
  const result = await build({
    entryPoints: [entry],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    target: 'node22',
    format: 'cjs',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    external: ['@azure/functions-core'],
    write: false,
    logLevel: 'warning',
  })
  await mkdir(dirname(bundle), { recursive: true })
  for (const file of result.outputFiles) {
    const draft = `${file.path}.${process.pid}`
    await writeFile(draft, file.contents)
    await rename(draft, file.path)
  }
  return bundle
}

process.stdout.write(`built ${await buildBundle()}\n`)
