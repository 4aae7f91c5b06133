import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { readSettings, settingNames, SettingsError } from '../../src/settings.ts'
import { settingDefaults } from '../../src/settings/defaults.ts'
import type { SettingKind } from '../../src/settings/setting-row.ts'
import { settingTable } from '../../src/settings/table.ts'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/settings.md'), 'utf8')
const example: { Values: Record<string, string> } = JSON.parse(
  readFileSync(join(root, 'local.settings.json.example'), 'utf8'),
)
const sound = {
  AzureWebJobsStorage: 'UseDevelopmentStorage=true',
  AZURE_OPENAI_ENDPOINT: 'http://127.0.0.1',
}
const service = settingTable.filter(({ readBy }) => readBy === 'service')

function faultsOf(environment: Record<string, string>): string {
  try {
    readSettings(environment)
  } catch (error) {
    if (error instanceof SettingsError) return error.message
    throw error
  }
  return ''
}

test('the schema knows the settings of the service, and no others', () => {
  expect(service.map(({ name }) => name).sort()).toEqual([...settingNames].sort())
})

test('no command reads a setting that the table does not have', () => {
  const source = readFileSync(join(root, 'src/local/instance.ts'), 'utf8')
  const [, schema = ''] = /const commandSettings = z\.object\(\{(.*?)^\}\)/ms.exec(source) ?? []
  const read = [...schema.matchAll(/^ {2}(\w+): z\./gm)].map(([, name]) => name!)
  expect(read).toContain('PORT')
  const known = settingTable.filter(({ readBy }) => readBy !== 'service').map(({ name }) => name)
  expect(read.filter((name) => !known.includes(name))).toEqual([])
})

test('what holds where nothing is set is what the table says', () => {
  const settings = readSettings(sound)
  const [quota] = settings.pools[0]!.quotas
  const held = {
    AZURE_OPENAI_DEPLOYMENT: quota!.deployments[0]!.deployment,
    AZURE_OPENAI_API_VERSION: quota!.deployments[0]!.apiVersion,
    IMAGE_RPM: quota!.rpm,
    PACE: settings.pace,
    CALL_TIMEOUT_SECONDS: settings.callTimeoutMs / 1_000,
    MAX_ATTEMPTS: settings.attemptsMax,
    REFUSAL_SHARE: settings.refusalShareMax,
  }
  expect(held).toEqual(settingDefaults)
  const told = Object.keys(held).map((name) => [name, service.find((row) => row.name === name)?.default])
  expect(told).toEqual(Object.entries(held).map(([name, value]) => [name, String(value)]))
})

test('a call and what is stored of it fit into the ten minutes that an update of the platform leaves', () => {
  expect(settingDefaults.CALL_TIMEOUT_SECONDS).toBeLessThanOrEqual(540)
})

describe('the schema refuses what is not of the kind that the table says', () => {
  const strange: Readonly<Record<Exclude<SettingKind, 'text'>, string>> = {
    name: 'no name at all',
    address: 'not-an-address',
    number: 'many',
    list: 'https://a.example/with a path, ',
    JSON: '{',
  }
  test.each(service.map(({ name, kind }) => [name, kind] as const))('%s is of the kind %s', (name, kind) => {
    if (kind === 'text') return
    expect(faultsOf({ ...sound, [name]: strange[kind] })).toMatch(new RegExp(`^ {2}${name}: found `, 'm'))
  })
})

test('what is secret is never shown in full', () => {
  const value = 'a secret with spaces that nobody may ever see'
  for (const { name, isSecret } of service) {
    const message = faultsOf({ ...sound, [name]: value })
    if (isSecret) expect(message, name).not.toContain(value)
    if (isSecret) expect(message, name).toContain(`${value.length} characters`)
  }
})

describe('docs/settings.md', () => {
  test('has a row for each setting, as the table has it', () => {
    const rows = [...page.matchAll(/^\| (`.*) \|$/gm)].map(([, row = '']) =>
      row.split('|').map((cell) => cell.trim()),
    )
    expect(rows).toEqual(
      settingTable.map(({ name, kind, isSecret, default: held, inAzure, meaning }) => [
        `\`${name}\``,
        isSecret ? `${kind}, secret` : kind,
        held,
        inAzure,
        meaning,
      ]),
    )
  })

  test('tells of prices and shares what the service takes', () => {
    const PRICES = /^`PRICES` .*?^ {4}(\{[^\n]*\})$/ms.exec(page)?.[1] ?? ''
    const BATCH_SHARES = /^`BATCH_SHARES` .*?`(\{.*?\})`/ms.exec(page)?.[1] ?? ''
    expect([PRICES, BATCH_SHARES]).not.toContain('')
    expect(faultsOf({ ...sound, PRICES, BATCH_SHARES })).toBe('')
  })
})

describe('local.settings.json.example', () => {
  const ofCoreTools = ['FUNCTIONS_WORKER_RUNTIME', 'FUNCTIONS_REQUEST_BODY_SIZE_LIMIT']

  test('has every setting of the service, and what Core Tools need', () => {
    const wanted = [...ofCoreTools, ...service.map(({ name }) => name)]
    expect(Object.keys(example.Values).sort()).toEqual(wanted.sort())
  })

  test('and each is empty, or what would hold anyway', () => {
    const given = { FUNCTIONS_WORKER_RUNTIME: 'node', AzureWebJobsStorage: sound.AzureWebJobsStorage }
    for (const { name, default: held } of settingTable) {
      const value = example.Values[name]
      if (value === undefined || value === '') continue
      expect([name, value]).toEqual([
        name,
        Object.entries(given).find(([each]) => each === name)?.[1] ?? held,
      ])
    }
    expect(example.Values['FUNCTIONS_REQUEST_BODY_SIZE_LIMIT']).toBe(String(limits.hostBodyBytesMax))
  })
})

describe('a reference that Azure did not resolve', () => {
  const reference = '@Microsoft.KeyVault(SecretUri=https://kv-x.vault.azure.net/secrets/webhook-secrets)'

  test.each(['WEBHOOK_SECRETS', 'AZURE_OPENAI_API_KEY', 'IMAGE_RPM', 'DARKROOM_API_KEYS'])(
    'is the fault of %s, and its only one',
    (name) => {
      const message = faultsOf({ ...sound, [name]: reference })
      expect(message).toMatch(/^1 of the settings/)
      expect(message).toContain(`${name}: found a reference that Azure did not resolve, ${reference}; wanted`)
      expect(message).toMatch(/Key Vault Secrets User.*docs\/deploy\.md/)
    },
  )

  test.each(['SWEDEN_KEY', 'AZURE_OPENAI_API_KEY'])(
    'in %s, which the list of deployments names, is no key',
    (name) => {
      const { AzureWebJobsStorage } = sound
      const list = [{ name: 'a', endpoint: 'http://127.0.0.1', rpm: 6, key_setting: name }]
      const message = faultsOf({
        AzureWebJobsStorage,
        IMAGE_DEPLOYMENTS: JSON.stringify(list),
        [name]: `@microsoft.keyvault(VaultName=kv-x;SecretName=key)`,
      })
      expect(message).toMatch(/^1 of the settings/)
      expect(message).toContain(`${name}: found a reference that Azure did not resolve`)
    },
  )
})
