import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readSettings, settingNames, SettingsError } from '../src/settings.ts'

const root = join(import.meta.dirname, '..')
const targetUri =
  'https://studio.cognitiveservices.azure.com/openai/deployments/gpt-image-1/images/generations?api-version=2025-04-01-preview'
const storage = { AzureWebJobsStorage: 'UseDevelopmentStorage=true' }

function faultsOf(environment: Record<string, string>): string {
  try {
    readSettings(environment)
  } catch (error) {
    if (error instanceof SettingsError) return error.message
    throw error
  }
  return ''
}

describe('the names of the settings', () => {
  it('are the same in the schema and in local.settings.json.example', () => {
    const example: { Values: Record<string, string> } = JSON.parse(
      readFileSync(join(root, 'local.settings.json.example'), 'utf8'),
    )
    const names = Object.keys(example.Values).filter((name) => name !== 'FUNCTIONS_WORKER_RUNTIME')
    expect(names.sort()).toEqual([...settingNames].sort())
  })

  it('are the same in the schema and in the README, with the same defaults', () => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8')
    const table = readme.slice(
      readme.indexOf('## Settings'),
      readme.indexOf('## ', readme.indexOf('## Settings') + 3),
    )
    const named = [...table.matchAll(/^\| ((?:`[^`]+`(?:, )?)+)\s*\|/gm)].flatMap(([, cell]) =>
      [...cell!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!),
    )
    const ofCommands = ['PORT', 'SHUTDOWN_GRACE_SECONDS', 'MESSAGE_LEASE_SECONDS']
    expect(named.sort()).toEqual([...settingNames, ...ofCommands].sort())
    for (const [name, value] of [
      ['IMAGE_RPM', '60'],
      ['PACE', '0.98'],
      ['CALL_TIMEOUT_SECONDS', '600'],
      ['MAX_ATTEMPTS', '5'],
    ]) {
      expect(table).toMatch(new RegExp(`\\| \`${name}\`\\s+\\| ${value}\\s+\\|`))
    }
  })

  it('the example file, copied as it is, lacks nothing but a deployment', () => {
    const example: { Values: Record<string, string> } = JSON.parse(
      readFileSync(join(root, 'local.settings.json.example'), 'utf8'),
    )
    expect(faultsOf(example.Values)).toMatch(
      /^1 of the settings[^\n]*\n {2}AZURE_OPENAI_TARGET_URI: found nothing/,
    )
    const settings = readSettings({ ...example.Values, AZURE_OPENAI_TARGET_URI: targetUri })
    expect(settings).toEqual(readSettings({ ...storage, AZURE_OPENAI_TARGET_URI: targetUri }))
  })
})

describe('readSettings', () => {
  it('takes endpoint, deployment and version from the Target URI', () => {
    const { deployment } = readSettings({
      ...storage,
      AZURE_OPENAI_TARGET_URI: targetUri,
      AZURE_API_KEY: 'secret',
    })
    expect(deployment).toMatchObject({
      endpoint: 'https://studio.cognitiveservices.azure.com',
      name: 'gpt-image-1',
      apiVersion: '2025-04-01-preview',
      apiKey: 'secret',
    })
  })

  it('takes the profile from the deployment, or from IMAGE_MODEL', () => {
    const environment = {
      ...storage,
      AZURE_OPENAI_ENDPOINT: 'https://a.openai.azure.com/',
      AZURE_OPENAI_DEPLOYMENT: 'team-gpt-image-2',
    }
    expect(readSettings(environment).deployment.profile.model).toBe('gpt-image-2')
    expect(readSettings({ ...environment, IMAGE_MODEL: 'gpt-image-1-mini' }).deployment.profile.model).toBe(
      'gpt-image-1-mini',
    )
  })

  it('prefers AZURE_OPENAI_API_KEY, and goes without a key', () => {
    const environment = { ...storage, AZURE_OPENAI_TARGET_URI: targetUri }
    expect(
      readSettings({ ...environment, AZURE_OPENAI_API_KEY: 'a', AZURE_API_KEY: 'b' }).deployment.apiKey,
    ).toBe('a')
    expect(readSettings(environment).deployment.apiKey).toBeUndefined()
  })

  it('makes the three addresses of an account under identity', () => {
    const { storage: found } = readSettings({
      AzureWebJobsStorage__accountName: 'darkroomdata',
      AzureWebJobsStorage__credential: 'managedidentity',
      AZURE_OPENAI_TARGET_URI: targetUri,
    })
    expect(found).toMatchObject({ kind: 'identity', queueUri: 'https://darkroomdata.queue.core.windows.net' })
  })

  it('lists every fault in one message, and masks what is secret', () => {
    const message = faultsOf({
      AzureWebJobsStorage: 'AccountNam=x;secret-of-storage',
      AZURE_OPENAI_TARGET_URI: 'https://studio.example.com/chat',
      AZURE_OPENAI_API_KEY: 'a key with spaces in it',
      IMAGE_RPM: '0',
      PACE: 'fast',
      MAX_ATTEMPTS: '2.5',
      IMAGE_MODEL: 'dall-e-3',
    })
    for (const name of [
      'AzureWebJobsStorage',
      'AZURE_OPENAI_TARGET_URI',
      'AZURE_OPENAI_API_KEY',
      'IMAGE_RPM',
      'PACE',
      'MAX_ATTEMPTS',
      'IMAGE_MODEL',
    ]) {
      expect(message).toMatch(new RegExp(`^ {2}${name}: found .+; wanted .+$`, 'm'))
    }
    expect(message).not.toContain('secret-of-storage')
    expect(message).not.toContain('key with spaces')
  })

  it('refuses what contradicts the Target URI, and plain http to another machine', () => {
    expect(
      faultsOf({ ...storage, AZURE_OPENAI_TARGET_URI: targetUri, AZURE_OPENAI_DEPLOYMENT: 'other' }),
    ).toContain('AZURE_OPENAI_DEPLOYMENT: found other; wanted nothing, or gpt-image-1')
    expect(faultsOf({ ...storage, AZURE_OPENAI_ENDPOINT: 'http://models.example.com' })).toContain('https')
  })
})
