import { useRunningStorage } from './azurite/development-storage.ts'
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
import { hasDeployment, useRunningSimulated } from './simulated.ts'

const about =
  'npm run host: one instance of the functions, against the storage and the deployment configured, or those of a running npm start.'

await runCommand(about, async () => {
  await loadLocalSettings(rootDir)
  const { graceMs, logFormat, instance } = readCommandSettings()
  // Beside an `npm start` on this machine nothing needs to be configured.
  await useRunningStorage()
  if (!hasDeployment(process.env)) await useRunningSimulated()
  const host = await startInstance(instance, logToTerminal(logFormat))
  // A benchmark that started this asks for the process that runs the functions.
  process.on('message', (message) => {
    if (message !== 'worker') return
    const tell = (measured: object): unknown => process.send?.(measured)
    void host.measure().then(tell, (error: unknown) => tell({ error: String(error) }))
  })
  console.log(`darkroom: ready on ${host.url}`)
  await stopInstance(host, await untilStopped(), { graceMs })
  process.exit()
})
