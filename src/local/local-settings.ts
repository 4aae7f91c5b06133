import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { SettingsError } from '../settings.ts'

const fileSchema = z.object({ Values: z.record(z.string(), z.string()) })

/**
 * Puts the Values of local.settings.json into the environment, where it does not set them itself: what Core Tools do
 * before they start a function app. Without the file nothing changes.
 */
export async function loadLocalSettings(rootDir: string): Promise<void> {
  const path = join(rootDir, 'local.settings.json')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return
    throw error
  }
  for (const [name, value] of Object.entries(parseValues(text))) {
    if ((process.env[name] ?? '') === '') process.env[name] = value
  }
}

function parseValues(text: string): Record<string, string> {
  try {
    return fileSchema.parse(JSON.parse(text)).Values
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : 'it is not JSON'
    const wanted = 'an object with "Values", each a string, as in local.settings.json.example'
    throw new SettingsError(`local.settings.json cannot be read: ${reason}; wanted ${wanted}`)
  }
}
