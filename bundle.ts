import { readFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { build, type BuildOptions, type Metafile, type Plugin } from 'esbuild'

const rootDir = import.meta.dirname

/**
 * What only some functions need, or no request so far: each package is a file of its own, and loaded when it is first
 * asked for. V8 reads a file whole before it runs a line of it, so they would cost a cold start more than all the rest.
 */
export const onDemand = ['openai', 'undici', '@azure/identity', 'apache-arrow'] as const

/** One file of the bundle. */
export type BundledFile = {
  readonly name: string
  readonly contents: Uint8Array
  /** The packages that are in it; `src` is our own code. In order of their names. */
  readonly packages: readonly string[]
  /** The modules that are in it, from the root of the project, with slashes. */
  readonly modules: readonly string[]
  /** What it asks for at run time beside Node's own modules. */
  readonly asksFor: readonly string[]
}

/**
 * The functions as Azure and the local host load them: what is loaded at a cold start, and a file for each package that
 * is loaded on demand. CommonJS, because named imports from `@azure/functions` fail in some Node versions' ES modules.
 * `@azure/functions-core` exists only inside a host, which supplies it when it loads the first file.
 */
export async function bundleFunctions(): Promise<readonly BundledFile[]> {
  const first = bundled('functions.cjs', {
    entryPoints: [join(rootDir, 'src/functions/index.ts')],
    external: ['@azure/functions-core'],
    plugins: [filesOfTheirOwn, zodWithoutTheRest],
  })
  const others = onDemand.map(async (name) =>
    bundled(fileOf(name), { stdin: { contents: `export * from '${name}'`, resolveDir: rootDir } }),
  )
  return Promise.all([first, ...others])
}

export function fileOf(packageName: string): string {
  return `${packageName.replace('@', '').replaceAll('/', '-')}.cjs`
}

async function bundled(name: string, options: BuildOptions): Promise<BundledFile> {
  const { outputFiles, metafile } = await build({
    ...options,
    outfile: name,
    absWorkingDir: rootDir,
    bundle: true,
    platform: 'node',
    target: 'node22',
    format: 'cjs',
    // `require`, which is quicker than `import()` and asks the same loader as the rest.
    supported: { 'dynamic-import': false },
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    // An error that nobody catches is shown with its line.
    lineLimit: 1_000,
    write: false,
    metafile: true,
    logLevel: 'warning',
  })
  const [file] = outputFiles
  const [output] = Object.values(metafile.outputs)
  if (file === undefined || output === undefined) throw new Error(`${name}: esbuild has made no file`)
  const modules = Object.entries(output.inputs)
    .filter(([path, { bytesInOutput }]) => bytesInOutput > 0 && path !== '<stdin>')
    .map(([path]) => path.replace(/^.*\/node_modules\//, 'node_modules/'))
  return {
    name,
    contents: file.contents,
    packages: [...new Set(modules.map(packageOf))].sort(),
    modules: modules.sort(),
    asksFor: asksFor(output),
  }
}

function packageOf(module: string): string {
  return /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(module)?.[1] ?? 'src'
}

function asksFor({ imports }: Metafile['outputs'][string]): readonly string[] {
  const outside = imports.filter(({ external }) => external === true).map(({ path }) => path)
  return [...new Set(outside)].filter((path) => !isBuiltin(path)).sort()
}

const filesOfTheirOwn: Plugin = {
  name: 'files of their own',
  setup(build) {
    build.onResolve({ filter: new RegExp(`^(?:${onDemand.join('|')})$`) }, ({ path, kind, importer }) => {
      if (kind === 'dynamic-import') return { path: `./${fileOf(path)}`, external: true }
      return { errors: [{ text: `${importer} imports ${path} at once; it is for \`await import()\`` }] }
    })
  },
}

/**
 * `import { z }` takes zod whole, forty languages among it; `import * as z` only what is used of it. esbuild can tell in
 * the second form only.
 */
const zodWithoutTheRest: Plugin = {
  name: 'zod without the rest',
  setup(build) {
    build.onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, async ({ path }) => {
      if (path.includes('node_modules')) return undefined
      const text = await readFile(path, 'utf8')
      return { contents: text.replace("import { z } from 'zod'", "import * as z from 'zod'"), loader: 'ts' }
    })
  },
}
