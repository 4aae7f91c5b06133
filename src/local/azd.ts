import { execFile } from 'node:child_process'
import { z } from 'zod'
import { readJson } from '../core/json.ts'
import { SettingsError } from '../settings.ts'

/** The values of the environment that azd has chosen, by their names. Throws `SettingsError` where azd has none. */
export async function azdValues(): Promise<Readonly<Record<string, string>>> {
  const json = readJson(await azd(['env', 'get-values', '--output', 'json']))
  const values = valuesSchema.safeParse(json.kind === 'json' ? json.value : undefined)
  if (values.success) return values.data
  throw new SettingsError('azd env get-values gave no values in JSON')
}

const valuesSchema = z.record(z.string(), z.string())

/** Throws `SettingsError`. */
export async function setAzdValue(name: string, value: string): Promise<void> {
  await azd(['env', 'set', name, value])
}

/** Without a shell, so that JSON keeps its quotes everywhere. What azd says against it is for whoever typed the command. */
async function azd(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('azd', args, { timeout: azdMsMax }, (error, output, errors) => {
      if (error === null) {
        resolve(output)
        return
      }
      const reason =
        error.code === 'ENOENT' ? 'there is no azd on this machine' : errors.trim() || error.message
      reject(new SettingsError(`azd ${args.slice(0, 2).join(' ')} failed: ${reason}`))
    })
  })
}

/** It reads or writes one file; its first start on a machine takes longer. */
const azdMsMax = 60_000
