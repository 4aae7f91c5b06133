import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { rootDir } from '../architecture/sources.ts'
import { hook } from './hook-run.ts'
import { otherAccount } from './sets.ts'

const sha256 = 'c4'.repeat(32)

describe('parameters, before provisioning', () => {
  test('each parameter that cannot be used is named, with what was found and what is wanted', async () => {
    const { code, text, asked } = await hook('preprovision', {
      IMAGE_CAPACITY: 'ten',
      IMAGE_RPM: '7.5',
      MAX_ATTEMPTS: '101',
      ALWAYS_READY_WORKERS: '-1',
      ZONE_REDUNDANT: 'yes',
      INSTANCE_MEMORY_MB: '1024',
      IMAGE_MODEL: 'dall-e-3',
      IMAGE_DEPLOYMENTS: '{"name":"a"}',
      BATCH_SHARES: '[1]',
      DEPLOYMENT_KEYS: 'SWEDEN_KEY=very-secret',
      PACE: '1.5',
      REFUSAL_SHARE: '0.01',
      MODEL_API_VERSION: 'v'.repeat(33),
      // These can.
      MONTHLY_BUDGET: '50',
      PRIVATE_NETWORK: 'true',
      NODE_RUNTIME: '24',
      PRICES: '{"gpt-image-2":{"image_out":27}}',
    })
    expect([code, asked]).toEqual([1, []])
    const faults = [...text.matchAll(/^ {2}(\w+): found (.*); wanted (.*)$/gm)].map(([, ...parts]) => parts)
    expect(faults).toEqual([
      ['IMAGE_MODEL', 'dall-e-3', expect.stringContaining('one of gpt-image-1, ')],
      ['IMAGE_CAPACITY', 'ten', 'a whole number from 1 to 10000'],
      ['IMAGE_RPM', '7.5', 'a whole number from 1 to 60000'],
      ['MODEL_API_VERSION', 'v'.repeat(33), 'at most 32 characters'],
      ['IMAGE_DEPLOYMENTS', '{"name":"a"}', 'an array of objects in JSON'],
      ['DEPLOYMENT_KEYS', '22 characters', 'an object in JSON'],
      ['BATCH_SHARES', '[1]', 'an object in JSON'],
      ['REFUSAL_SHARE', '0.01', 'a number from 0.02 to 1'],
      ['PACE', '1.5', 'a number from 0.01 to 1'],
      ['MAX_ATTEMPTS', '101', 'a whole number from 1 to 100'],
      ['INSTANCE_MEMORY_MB', '1024', 'one of 512, 2048, 4096'],
      ['ALWAYS_READY_WORKERS', '-1', 'a whole number from 0 to 100'],
      ['ZONE_REDUNDANT', 'yes', 'true or false'],
    ])
    expect(text).toMatch(/^13 of the parameters/m)
    expect(text).toContain('azd env set NAME VALUE')
  })

  test('an empty value is refused where the Bicep takes none, with how to get back to the default', async () => {
    const text = [
      ...readFileSync(join(rootDir, 'infra/main.parameters.json'), 'utf8').matchAll(/\$\{(\w+)\}/g),
    ]
    const byAzd = ['AZURE_ENV_NAME', 'AZURE_LOCATION', 'AZURE_PRINCIPAL_ID', 'DARKROOM_API_KEYS']
    const variables = text
      .map(([, variable = '']) => variable)
      .filter((variable) => !byAzd.includes(variable))
    const { code, text: told } = await hook('preprovision', {
      ...Object.fromEntries(variables.map((variable) => [variable, ''])),
      DARKROOM_API_KEYS: `{"studio":"${sha256}"}`,
    })
    expect(code).toBe(1)
    const faults = [...told.matchAll(/^ {2}(\w+): found an empty value; wanted (.*)$/gm)]
    // These are texts that are empty where nobody sets them.
    const texts = variables.filter((variable) => !faults.some(([, name]) => name === variable))
    expect(texts).toEqual([
      'NAME_GENERATION',
      'IMAGE_MODEL_VERSION',
      'IMAGE_DEPLOYMENT',
      'MODEL_LOCATION',
      'MODEL_ACCOUNT_IDS',
      'MODEL_API_KEY',
      'MODEL_API_VERSION',
      'CORS_ORIGINS',
      'INPUT_HOSTS',
      'WEBHOOK_HOSTS',
      'WEBHOOK_SECRETS',
      'REFUSAL_SHARE',
      'PACE',
      'ALERT_EMAIL',
      'BUDGET_START',
    ])
    const wantedOf = new Map(faults.map(([, name = '', wanted = '']) => [name, wanted]))
    expect(wantedOf.get('IMAGE_RPM')).toMatch(
      /^a whole number from 1 to 60000, or its line deleted from \.azure\/studio\/\.env/,
    )
    expect(wantedOf.get('DEPLOYER_ROLES')).toMatch(/^true or false, or its line/)
    expect(wantedOf.get('NETWORK_ADDRESSES')).toMatch(/^the first address of a network/)
    expect(wantedOf.get('PRICES')).toMatch(/^an object in JSON, or its line/)
  })

  test.each([
    '10.0.0.0',
    '10.0.0.0/24',
    '10.0.0.0/7',
    '10.0.0.1/16',
    '10.0.300.0/16',
    '10.0.0.0/16 ',
    'fd00::/16',
  ])('the network %s is refused by its name', async (addresses) => {
    const { code, text } = await hook('preprovision', { NETWORK_ADDRESSES: addresses })
    expect([code, text]).toEqual([
      1,
      expect.stringContaining(
        `  NETWORK_ADDRESSES: found ${addresses}; wanted the first address of a network`,
      ),
    ])
  })

  test.each(['10.0.0.0/16', '10.20.4.0/22', '192.168.0.0/16', '10.0.0.0/8'])(
    'the network %s is taken',
    async (addresses) => {
      expect((await hook('preprovision', { NETWORK_ADDRESSES: addresses })).code).toBe(0)
    },
  )

  test.each([
    ['2026-11-02', 1],
    ['2026-13-01', 1],
    ['November 2026', 1],
    ['2026-11-01', 0],
    ['2026-11-01T00:00:00Z', 0],
  ])('a budget begins on the first of a month: %s', async (start, wanted) => {
    const { code, text } = await hook('preprovision', { BUDGET_START: start })
    expect(code).toBe(wanted)
    expect(text.includes(`BUDGET_START: found ${start}; wanted the first day of a month`)).toBe(wanted === 1)
  })

  test('keys of deployments cannot be a reference to a vault, which is a text', async () => {
    const { code, text } = await hook('preprovision', { DEPLOYMENT_KEYS: 'akvs://id/vault/secret' })
    expect([code, text]).toEqual([
      1,
      expect.stringMatching(/DEPLOYMENT_KEYS: .*azd env set-secret.* for texts only/),
    ])
  })

  test('what azd asks for by itself may be empty before it does', async () => {
    const env = { AZURE_LOCATION: '', AZURE_PRINCIPAL_ID: '', DARKROOM_API_KEYS: `{"studio":"${sha256}"}` }
    expect(await hook('preprovision', env)).toEqual({ code: 0, text: '', asked: [] })
  })

  const sweden = { name: 'sweden', endpoint: 'https://a.openai.azure.com', rpm: 6 }
  const poland = { name: 'poland', endpoint: 'https://b.openai.azure.com', rpm: 6, key_setting: 'POLAND_KEY' }
  const polandKey = { DEPLOYMENT_KEYS: '{"POLAND_KEY":"0123456789"}' }

  test('deployments without keys want their accounts named, but may do without', async () => {
    const list = [sweden, poland]
    const env = {
      ...polandKey,
      IMAGE_DEPLOYMENTS: JSON.stringify(list),
      DARKROOM_API_KEYS: `{"studio":"${sha256}"}`,
    }
    expect(await hook('preprovision', env)).toMatchObject({
      code: 0,
      text: expect.stringMatching(
        /Warning: .*without a key_setting \(sweden\), and MODEL_ACCOUNT_IDS is not set/,
      ),
    })
    for (const more of [
      { MODEL_ACCOUNT_IDS: otherAccount },
      { IMAGE_DEPLOYMENTS: JSON.stringify(list.slice(1)) },
    ])
      expect((await hook('preprovision', { ...env, ...more })).text).toBe('')
  })

  test.each([
    ['there are no keys', {}],
    ['it is not among them', { DEPLOYMENT_KEYS: '{"SWEDEN_KEY":"0123456789"}' }],
    ['every object has one of its name', { DEPLOYMENT_KEYS: '{}' }, 'toString'],
    ['it is empty', { DEPLOYMENT_KEYS: '{"POLAND_KEY":""}' }],
    ['it is no text', { DEPLOYMENT_KEYS: '{"POLAND_KEY":7}' }],
  ])('a key that a deployment names must be there: %s', async (_, keys, name = 'POLAND_KEY') => {
    const { code, text } = await hook('preprovision', {
      IMAGE_DEPLOYMENTS: JSON.stringify([{ ...poland, key_setting: name }]),
      ...keys,
    })
    expect([code, text]).toEqual([
      1,
      expect.stringContaining(
        `  DEPLOYMENT_KEYS: found no key for ${name}; wanted JSON such as {"${name}":"…"}`,
      ),
    ])
  })

  test.each([
    ['MODEL_ACCOUNT_IDS', 'my-account', 'JSON view'],
    ['MODEL_ACCOUNT_IDS', 'https://foo.openai.azure.com', 'JSON view'],
    ['MODEL_ACCOUNT_IDS', `${otherAccount},`, 'JSON view'],
    ['MODEL_ACCOUNT_IDS', `${otherAccount}/deployments/drawings`, 'JSON view'],
    ['ALERT_EMAIL', 'notamail', 'address of e-mail'],
    ['ALERT_EMAIL', 'a@example.com, b@example.com', 'one address of e-mail'],
    ['NAME_GENERATION', 'x', 'a whole number'],
    ['NAME_GENERATION', 'NaN', 'a whole number'],
  ])('what only Azure would refuse is refused by its name: %s=%s', async (name, value, wanted) => {
    const { code, text } = await hook('preprovision', { [name]: value })
    expect(code).toBe(1)
    expect(text).toMatch(new RegExp(`^  ${name}: found .*; wanted .*${wanted}`, 'm'))
  })

  test('those of the right form are taken', async () => {
    const env = {
      MODEL_ACCOUNT_IDS: `${otherAccount}, ${otherAccount.toLowerCase()}`,
      ALERT_EMAIL: 'operator@example.com',
      NAME_GENERATION: '12',
      DARKROOM_API_KEYS: `{"studio":"${sha256}"}`,
    }
    expect(await hook('preprovision', env)).toEqual({ code: 0, text: '', asked: [] })
  })
})
