import { join } from 'node:path'
import { startDevelopmentStorage } from './azurite/development-storage.ts'
import {
  logToTerminal,
  readCommandSettings,
  rootDir,
  runCommand,
  startInstance,
  stopInstance,
  untilStopped,
} from './instance.ts'
import { loadLocalSettings } from './local-settings.ts'
import { hasDeployment, startUsualSimulated } from './simulated.ts'

const about = 'npm start: the whole of Darkroom on this machine; what is not configured is stood in for.'

await runCommand(about, async () => {
  await loadLocalSettings(rootDir)
  const { graceMs, logFormat, instance } = readCommandSettings()
  const azurite = await startDevelopmentStorage(join(rootDir, '.azurite'))
  const simulated = hasDeployment(process.env) ? undefined : await startUsualSimulated()
  if (simulated !== undefined) {
    console.log(`darkroom: no deployment is configured; a simulated one answers on ${simulated.endpoint}`)
  }
  const host = await startInstance(instance, logToTerminal(logFormat))
  console.log(`darkroom: ready on ${host.url}`)
  await stopInstance(host, await untilStopped(), { graceMs })
  await simulated?.stop()
  await azurite?.stop()
  process.exit()
})
