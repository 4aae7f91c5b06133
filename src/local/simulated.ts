import { settingNames } from '../settings.ts'
import { startDeployment, type SimulatedDeployment } from './deployment/deployment.ts'
import { defaultSettings } from './deployment/settings.ts'

/** Where `npm start` runs the simulated deployment, so that further hosts find it. */
const usualPort = 7079

const usualEndpoint = `http://127.0.0.1:${usualPort}`

export function hasDeployment(environment: NodeJS.ProcessEnv): boolean {
  return ['AZURE_OPENAI_TARGET_URI', 'AZURE_OPENAI_ENDPOINT', 'IMAGE_DEPLOYMENTS'].some(
    (name) => (environment[name] ?? '') !== '',
  )
}

/** Points the environment at a simulated deployment: no call can reach, or cost, a real one. */
export function useSimulated(endpoint: string, apiKey: string): void {
  const real = settingNames.filter((name) => name.startsWith('AZURE_') || name === 'IMAGE_DEPLOYMENTS')
  for (const name of real) delete process.env[name]
  process.env['AZURE_OPENAI_ENDPOINT'] = endpoint
  process.env['AZURE_OPENAI_DEPLOYMENT'] = defaultSettings.deployment
  process.env['AZURE_OPENAI_API_KEY'] = apiKey
}

/** Starts the simulated deployment at its usual place, unless it runs there already. */
export async function startUsualSimulated(): Promise<SimulatedDeployment | undefined> {
  const runsAlready = await simulatedAnswers()
  const rpm = Number(process.env['IMAGE_RPM'] ?? '') || defaultSettings.rpm
  const deployment = runsAlready ? undefined : await startDeployment({ port: usualPort, rpm })
  useSimulated(usualEndpoint, defaultSettings.apiKey)
  return deployment
}

export async function useRunningSimulated(): Promise<boolean> {
  if (!(await simulatedAnswers())) return false
  useSimulated(usualEndpoint, defaultSettings.apiKey)
  return true
}

async function simulatedAnswers(): Promise<boolean> {
  try {
    const response = await fetch(`${usualEndpoint}/__log`, { signal: AbortSignal.timeout(2_000) })
    await response.body?.cancel()
    return response.ok
  } catch (error) {
    // Refused, or silent: nothing of ours is there.
    if (error instanceof TypeError || error instanceof DOMException) return false
    throw error
  }
}
