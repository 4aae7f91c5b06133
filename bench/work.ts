import { defaultSettings } from '../src/local/deployment/settings.ts'

/** What every runner is given: the same prompts, parameters and deployment. */

export const { apiKey, deployment: deploymentName } = defaultSettings
export const [apiVersion = ''] = defaultSettings.apiVersions

/** What a run asks of the model for each picture. */
export const parameters = { size: '1024x1024', quality: 'low' } as const

/** How long the model works on a picture: evenly spread. */
export const latencyMs = { min: 1_000, max: 4_000 } as const

/** The prompts of every runner: the simulated deployment takes equally long for the same prompt, and fails equally. */
export function promptOf(index: number): string {
  return `Bench picture ${String(index + 1).padStart(5, '0')}`
}
