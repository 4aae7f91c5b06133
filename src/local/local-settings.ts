import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { SettingsError, singleDeploymentNames } from '../settings.ts'
import { hasDeployment } from './simulated.ts'

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
  const hidden = hiddenBy(process.env)
  for (const [name, value] of Object.entries(parseValues(text))) {
    if ((process.env[name] ?? '') === '' && !hidden.includes(name)) process.env[name] = value
  }
}

/** One deployment or a list of them: whichever the environment has hides the other in the file. */
function hiddenBy(environment: NodeJS.ProcessEnv): readonly string[] {
  if ((environment['IMAGE_DEPLOYMENTS'] ?? '') !== '') return singleDeploymentNames
  return hasDeployment(environment) ? ['IMAGE_DEPLOYMENTS'] : []
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
