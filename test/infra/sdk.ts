import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Exact: another version may find something else in the same text, or format it another way. */
const version = '0.49.2'

/** What stands in the way of checking anything, in a sentence for whoever started the check. */
export class NoCompiler extends Error {
  override readonly name = 'NoCompiler'
}

/** Where the Bicep compiler is. NuGet has it; it is kept outside of the repository for the next time. Throws `NoCompiler`. */
export async function bicepPath(): Promise<string> {
  const platform = `${systems[process.platform] ?? process.platform}-${process.arch}`
  const cacheDir = process.env['LOCALAPPDATA'] ?? process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  const dir = join(cacheDir, 'darkroom', `bicep-${version}-${platform}`)
  const packageName = `Azure.Bicep.CommandLine.${platform}`
  const name = process.platform === 'win32' ? 'bicep.exe' : 'bicep'
  const path = join(dir, packageName.toLowerCase(), version, 'tools', name)
  if (!existsSync(path)) await restore(dir, packageName)
  if (!existsSync(path)) throw new NoCompiler(`${packageName} ${version} has no ${path}`)
  return path
}

const systems: Partial<Record<NodeJS.Platform, string>> = { win32: 'win', darwin: 'osx', linux: 'linux' }

async function restore(dir: string, packageName: string): Promise<void> {
  const sdk = await ended('dotnet', ['--version'], '.').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  })
  if (sdk === undefined || sdk.code !== 0) {
    const wanted = 'install one from https://dotnet.microsoft.com/download, of version 8 or later'
    throw new NoCompiler(
      `the Bicep was not checked: its compiler comes with a .NET SDK, and there is none; ${wanted}`,
    )
  }
  await mkdir(dir, { recursive: true })
  const project = join(dir, 'get.csproj')
  await writeFile(
    project,
    `<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup><TargetFramework>net${Number.parseInt(sdk.output, 10)}.0</TargetFramework></PropertyGroup>
  <ItemGroup><PackageDownload Include="${packageName}" Version="[${version}]" /></ItemGroup>
</Project>
`,
  )
  const restored = await ended('dotnet', ['restore', project, '--packages', dir], dir)
  if (restored.code !== 0) {
    const said = `${restored.output}\n${restored.errors}`.trim()
    throw new NoCompiler(
      `the Bicep was not checked: ${packageName} ${version} did not come from NuGet:\n${said}`,
    )
  }
}

type Ended = { readonly code: number; readonly output: string; readonly errors: string }

async function ended(command: string, args: readonly string[], cwd: string): Promise<Ended> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { cwd, timeout: restoreMsMax }, (error, output, errors) => {
      if (error === null) resolve({ code: 0, output, errors })
      else if (typeof error.code === 'number') resolve({ code: error.code, output, errors })
      else reject(error)
    })
  })
}

/** 120 MB, over a line of 10 Mbit/s. */
const restoreMsMax = 100_000
