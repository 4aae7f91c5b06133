import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readSettings } from '../../src/settings.ts'
import { settingTable } from '../../src/settings/table.ts'
import { rootDir } from '../architecture/sources.ts'
import { cloneWithoutPackages, hook } from './hook-run.ts'
import { parameterSets, setNames } from './sets.ts'

const sha256 = 'c4'.repeat(32)

describe('what the service would not start with', () => {
  const good = { name: 'a', endpoint: 'https://a.openai.azure.com', rpm: 9 }
  const list = (...entries: readonly object[]): string => JSON.stringify(entries)

  /** Each with the name that the service has for it. */
  const refused: readonly (readonly [variable: string, value: string, setting: string])[] = [
    ['WEBHOOK_SECRETS', 'hello', 'WEBHOOK_SECRETS'],
    ['CORS_ORIGINS', 'foo', 'CORS_ORIGINS'],
    ['INPUT_HOSTS', 'https://foo.com/', 'INPUT_HOSTS'],
    ['WEBHOOK_HOSTS', 'https://foo bar', 'WEBHOOK_HOSTS'],
    ['PRICES', '{"gpt-image-2":{"bogus":1}}', 'PRICES'],
    ['BATCH_SHARES', '{"a":-1}', 'BATCH_SHARES'],
    ['IMAGE_DEPLOYMENTS', '[]', 'IMAGE_DEPLOYMENTS'],
    ['IMAGE_DEPLOYMENTS', '[{}]', 'IMAGE_DEPLOYMENTS'],
    ['IMAGE_DEPLOYMENTS', list({ ...good, rpm: '9' }), 'IMAGE_DEPLOYMENTS'],
    ['IMAGE_DEPLOYMENTS', list({ ...good, key_setting: 'PACE' }), 'IMAGE_DEPLOYMENTS'],
    ['IMAGE_DEPLOYMENTS', list(good, good), 'IMAGE_DEPLOYMENTS'],
    ['IMAGE_DEPLOYMENT', 'a b', 'AZURE_OPENAI_DEPLOYMENT'],
    ['MODEL_API_VERSION', 'v 1', 'AZURE_OPENAI_API_VERSION'],
    ['MODEL_API_KEY', 'two words', 'AZURE_OPENAI_API_KEY'],
  ]

  test.each(refused)('%s=%s is refused by its name before anything is made', async (name, value, setting) => {
    const keys = { DEPLOYMENT_KEYS: '{"PACE":"0123456789"}' }
    const { code, text, asked } = await hook('preprovision', { ...keys, [name]: value })
    expect([code, asked]).toEqual([1, []])
    expect(text).toMatch(new RegExp(`^  ${name}\\b.*: found .*; wanted .`, 'm'))
    expect(() =>
      readSettings({
        AzureWebJobsStorage: 'UseDevelopmentStorage=true',
        ...(name !== 'IMAGE_DEPLOYMENTS' && { AZURE_OPENAI_ENDPOINT: 'http://127.0.0.1' }),
        [setting]: value,
      }),
    ).toThrow(setting)
  })

  test('no part of a secret is shown, and a key of a list is named by its variable', async () => {
    const secret = 'sssssssssssssss ssssssssssss'
    const { code, text } = await hook('preprovision', {
      WEBHOOK_SECRETS: secret,
      IMAGE_DEPLOYMENTS: list({ ...good, key_setting: 'A_KEY' }),
      DEPLOYMENT_KEYS: JSON.stringify({ A_KEY: secret }),
    })
    expect(code).toBe(1)
    expect(text).toMatch(/^ {2}WEBHOOK_SECRETS: found 28 characters; wanted secrets/m)
    expect(text).toMatch(/^ {2}DEPLOYMENT_KEYS\.A_KEY: found 28 characters; wanted a key without spaces/m)
    expect(text).not.toContain('ss…')
  })

  test.each(setNames)('what the Bicep is checked with is taken: %s', async (set) => {
    const parameters: Readonly<Record<string, unknown>> = parameterSets[set]
    const env = Object.fromEntries(
      Object.entries(parameters).map(([name, value]) => [
        { environmentName: 'AZURE_ENV_NAME', location: 'AZURE_LOCATION', principalId: 'AZURE_PRINCIPAL_ID' }[
          name
        ] ?? name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase(),
        typeof value === 'string' ? value : JSON.stringify(value),
      ]),
    )
    expect((await hook('preprovision', env)).code).toBe(0)
  })

  test('a reference to a vault is none of its faults: azd resolves it later', async () => {
    const env = { WEBHOOK_SECRETS: 'akvs://id/vault/secret', DARKROOM_API_KEYS: `{"studio":"${sha256}"}` }
    expect(await hook('preprovision', env)).toEqual({ code: 0, text: '', asked: [] })
  })

  test('without packages the form alone is checked, and the hook says so', async () => {
    const clone = await cloneWithoutPackages()
    const env = { WEBHOOK_SECRETS: 'hello', DARKROOM_API_KEYS: `{"studio":"${sha256}"}` }
    const { code, text } = await hook('preprovision', env, clone)
    expect([code, text]).toEqual([0, expect.stringMatching(/Warning: .*only the form was checked.*`npm ci`/)])
    expect((await hook('preprovision', { ...env, PRICES: '[]' }, clone)).code).toBe(1)
  })

  test('each setting that a parameter sets is looked at', () => {
    const read = (name: string): string => readFileSync(join(rootDir, 'infra', name), 'utf8')
    const variables = [...read('main.parameters.json').matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name!)
    const [, renamed = ''] = /const variables = \{(.*?)\}/s.exec(read('hooks/service-check.js')) ?? []
    const settings = [...variables, ...[...renamed.matchAll(/(\w+): '/g)].map(([, name]) => name!)]
    const ours = settingTable.filter(
      ({ name, readBy, inAzure }) =>
        readBy === 'service' &&
        inAzure !== 'never' &&
        !/^AzureWebJobsStorage|^AZURE_OPENAI_ENDPOINT$/.test(name),
    )
    expect(ours.map(({ name }) => name).filter((name) => !settings.includes(name))).toEqual([])
  })

  test('the bounds on shares are those of the service', () => {
    const sound = {
      AzureWebJobsStorage: 'UseDevelopmentStorage=true',
      AZURE_OPENAI_ENDPOINT: 'http://127.0.0.1',
    }
    for (const [name, least, less] of [
      ['PACE', '0.01', '0.009'],
      ['REFUSAL_SHARE', '0.02', '0.019'],
    ] as const) {
      expect(() => readSettings({ ...sound, [name]: least })).not.toThrow()
      expect(() => readSettings({ ...sound, [name]: '1' })).not.toThrow()
      expect(() => readSettings({ ...sound, [name]: less })).toThrow(name)
      expect(() => readSettings({ ...sound, [name]: '1.01' })).toThrow(name)
    }
  })
})
