import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { loadLocalSettings } from '../../src/local/local-settings.ts'
import { hasDeployment } from '../../src/local/simulated.ts'
import { settingNames, SettingsError } from '../../src/settings.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'darkroom-settings-'))
  // Put back after each test, whatever the test has made of them.
  for (const name of settingNames) vi.stubEnv(name, undefined)
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

/** What of the settings is in the environment after the file was read. */
async function load(text: string): Promise<Record<string, string | undefined>> {
  await writeFile(join(folder, 'local.settings.json'), text)
  await loadLocalSettings(folder)
  return Object.fromEntries(
    settingNames.filter((name) => process.env[name] !== undefined).map((name) => [name, process.env[name]]),
  )
}

const single = { AZURE_OPENAI_TARGET_URI: 'file', AZURE_OPENAI_API_KEY: 'file', IMAGE_RPM: '60', PACE: '0.5' }

function file(values: object): string {
  return JSON.stringify({ IsEncrypted: false, Values: values })
}

test('the file fills what the environment leaves open', async () => {
  vi.stubEnv('PACE', '1')
  vi.stubEnv('IMAGE_RPM', '')
  expect(await load(file(single))).toEqual({ ...single, PACE: '1' })
})

test('without a file nothing changes, and one that cannot be read says so', async () => {
  await loadLocalSettings(folder)
  expect(settingNames.filter((name) => process.env[name] !== undefined)).toEqual([])
  await expect(load('{')).rejects.toThrow(SettingsError)
})

test('a list in the environment hides the single deployment of the file, but for a key that it may name', async () => {
  vi.stubEnv('IMAGE_DEPLOYMENTS', '[]')
  const { AZURE_OPENAI_API_KEY, PACE } = single
  expect(await load(file(single))).toEqual({ IMAGE_DEPLOYMENTS: '[]', AZURE_OPENAI_API_KEY, PACE })
})

test.each(['AZURE_OPENAI_TARGET_URI', 'AZURE_OPENAI_ENDPOINT'])(
  '%s in the environment hides the list of the file',
  async (name) => {
    vi.stubEnv(name, 'environment')
    expect(await load(file({ IMAGE_DEPLOYMENTS: '[]', PACE: '0.5' }))).toEqual({
      [name]: 'environment',
      PACE: '0.5',
    })
  },
)

test('a deployment is configured by its address, or by a list', () => {
  expect(hasDeployment({})).toBe(false)
  expect(hasDeployment({ IMAGE_DEPLOYMENTS: '', AZURE_OPENAI_API_KEY: 'a', IMAGE_RPM: '60' })).toBe(false)
  expect(hasDeployment({ IMAGE_DEPLOYMENTS: '[]' })).toBe(true)
  expect(hasDeployment({ AZURE_OPENAI_ENDPOINT: 'a' })).toBe(true)
  expect(hasDeployment({ AZURE_OPENAI_TARGET_URI: 'a' })).toBe(true)
})
