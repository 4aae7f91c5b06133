import { azuriteAnswers, startAzurite, usualPorts, type Azurite } from './azurite.ts'

const developmentStorage = 'UseDevelopmentStorage=true'

/** Azurite at its usual place, when the settings ask for development storage, or for none, and none runs yet. */
export async function startDevelopmentStorage(location: string): Promise<Azurite | undefined> {
  const made = storageSettings()
  if (!made.every((value) => value.includes(developmentStorage))) return undefined
  process.env['AzureWebJobsStorage'] = developmentStorage
  if (await azuriteAnswers(usualPorts)) {
    console.log(
      'darkroom: using the Azurite that runs already; its queues and jobs are shared by all who use it',
    )
    return undefined
  }
  return startAzurite({ location, ports: usualPorts })
}

/** Where no storage is configured, the Azurite that runs already will do. */
export async function useRunningStorage(): Promise<void> {
  if (storageSettings().length > 0 || !(await azuriteAnswers(usualPorts))) return
  process.env['AzureWebJobsStorage'] = developmentStorage
}

function storageSettings(): readonly string[] {
  return Object.entries(process.env).flatMap(([name, value = '']) =>
    name.startsWith('AzureWebJobsStorage') && value.trim() !== '' ? [value] : [],
  )
}
