import { join } from 'node:path'
import { azuriteAnswers, startAzurite, usualPorts, type Azurite } from './azurite.ts'
import {
  readCommandSettings,
  rootDir,
  runCommand,
  startInstance,
  stopInstance,
  untilStopped,
} from './instance.ts'
import { loadLocalSettings } from './local-settings.ts'
import { hasDeployment, startUsualSimulated } from './simulated.ts'

/** `npm start`: the whole of Darkroom on this machine; what is not configured is stood in for. */
await runCommand(async () => {
  await loadLocalSettings(rootDir)
  const { port, graceMs } = readCommandSettings()
  const azurite = await startStorage()
  const simulated = hasDeployment(process.env) ? undefined : await startUsualSimulated()
  if (simulated !== undefined) {
    console.log(`darkroom: no deployment is configured; a simulated one answers on ${simulated.endpoint}`)
  }
  const host = await startInstance({ port, log: console.log })
  console.log(`darkroom: ready on ${host.url}`)
  await untilStopped()
  await stopInstance(host, graceMs)
  await simulated?.stop()
  await azurite?.stop()
  process.exit()
})

/** Azurite at its usual place, when the settings ask for development storage, or for none, and none runs yet. */
async function startStorage(): Promise<Azurite | undefined> {
  const made = Object.entries(process.env).filter(
    ([name, value]) => name.startsWith('AzureWebJobsStorage') && (value ?? '') !== '',
  )
  const isDevelopment = made.every(([, value]) => value?.includes('UseDevelopmentStorage=true') === true)
  if (!isDevelopment) return undefined
  process.env['AzureWebJobsStorage'] = 'UseDevelopmentStorage=true'
  if (await azuriteAnswers(usualPorts)) {
    console.log('darkroom: using the Azurite that runs already')
    return undefined
  }
  return startAzurite({ location: join(rootDir, '.azurite'), ports: usualPorts })
}
