import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { pricesOf, priceTable } from '../src/core/costs/prices.ts'
import { profileNamed } from '../src/core/requests/profiles.ts'
import { readSettings, SettingsError } from '../src/settings.ts'

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

describe('the example file', () => {
  it('copied as it is, lacks nothing but a deployment', () => {
    const example: { Values: Record<string, string> } = JSON.parse(
      readFileSync(join(root, 'local.settings.json.example'), 'utf8'),
    )
    expect(faultsOf(example.Values)).toMatch(
      /^1 of the settings[^\n]*\n {2}AZURE_OPENAI_TARGET_URI: found nothing/,
    )
    const settings = readSettings({ ...example.Values, AZURE_OPENAI_TARGET_URI: targetUri })
    expect(settings).toEqual(readSettings({ ...storage, AZURE_OPENAI_TARGET_URI: targetUri }))
  })

  it('and with the list of the README in the place of a deployment it lacks nothing', () => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8')
    const [, section = ''] = /^### Several deployments\n(.*?)^#{2,3} /ms.exec(readme) ?? []
    const list = /```json\n(.*?)```/s.exec(section)?.[1] ?? ''
    const example: { Values: Record<string, string> } = JSON.parse(
      readFileSync(join(root, 'local.settings.json.example'), 'utf8'),
    )
    const environment = { ...example.Values, IMAGE_DEPLOYMENTS: list, SWEDEN_KEY: 'secret' }
    const { pools } = readSettings(environment)
    expect(pools.map(({ name, profile, quotas }) => [name, profile.model, quotas.length])).toEqual([
      ['default', 'gpt-image-1', 2],
      ['gpt-image-2', 'gpt-image-2', 1],
    ])
    // Every field that the schema knows is explained, and no other.
    const fields = [...section.matchAll(/^\| `(\w+)`\s+\|([^|]*)\|/gm)].flatMap(
      ([, name = '', meaning = '']) =>
        name === 'target_uri'
          ? [name, ...[...meaning.matchAll(/`([a-z_]+)`/g)].map(([, part]) => part)]
          : [name],
    )
    const known = /there are (.*)$/m.exec(faultsOf({ ...storage, IMAGE_DEPLOYMENTS: '[{"no":1}]' }))?.[1]
    expect(new Set(fields)).toEqual(new Set(known?.split(', ')))
  })
})

describe('readSettings', () => {
  it('takes endpoint, deployment and version from the Target URI', () => {
    const { pools } = readSettings({
      ...storage,
      AZURE_OPENAI_TARGET_URI: targetUri,
      AZURE_API_KEY: 'secret',
    })
    expect(pools).toEqual([
      {
        name: 'default',
        profile: profileNamed('gpt-image-1'),
        quotas: [
          {
            quota: 'gpt-image-1',
            rpm: 60,
            deployments: [
              {
                name: 'gpt-image-1',
                endpoint: 'https://studio.cognitiveservices.azure.com',
                deployment: 'gpt-image-1',
                apiVersion: '2025-04-01-preview',
                apiKey: 'secret',
                clientId: undefined,
              },
            ],
          },
        ],
      },
    ])
  })

  it('takes the profile from the deployment, or from IMAGE_MODEL', () => {
    const environment = {
      ...storage,
      AZURE_OPENAI_ENDPOINT: 'https://a.openai.azure.com/',
      AZURE_OPENAI_DEPLOYMENT: 'team-gpt-image-2',
    }
    const modelIn = (changes: Record<string, string>) =>
      readSettings({ ...environment, ...changes }).pools.map(
        ({ name, profile }) => `${name}: ${profile.model}`,
      )
    expect(modelIn({})).toEqual(['default: gpt-image-2'])
    expect(modelIn({ IMAGE_MODEL: 'gpt-image-1-mini' })).toEqual(['default: gpt-image-1-mini'])
  })

  it('prefers AZURE_OPENAI_API_KEY, and goes without a key', () => {
    const environment = { ...storage, AZURE_OPENAI_TARGET_URI: targetUri }
    const keyIn = (changes: Record<string, string>) =>
      readSettings({ ...environment, ...changes }).pools[0]!.quotas[0]!.deployments[0]!.apiKey
    expect(keyIn({ AZURE_OPENAI_API_KEY: 'a', AZURE_API_KEY: 'b' })).toBe('a')
    expect(keyIn({})).toBeUndefined()
  })

  it('makes the three addresses of an account under identity', () => {
    const { storage: found } = readSettings({
      AzureWebJobsStorage__accountName: 'darkroomdata',
      AzureWebJobsStorage__credential: 'managedidentity',
      AZURE_OPENAI_TARGET_URI: targetUri,
    })
    expect(found).toMatchObject({ kind: 'identity', queueUri: 'https://darkroomdata.queue.core.windows.net' })
  })

  it('takes the list prices, and from PRICES what differs', () => {
    const environment = { ...storage, AZURE_OPENAI_TARGET_URI: targetUri }
    expect(readSettings(environment).prices).toEqual(priceTable())
    const page = readFileSync(join(root, 'docs/settings.md'), 'utf8')
    const PRICES = /^`PRICES` .*?^ {4}(\{[^\n]*\})$/ms.exec(page)?.[1] ?? ''
    const { prices } = readSettings({ ...environment, PRICES })
    expect(pricesOf(prices, 'gpt-image-2').output).toEqual({ kind: 'tokens', millionMicroUsd: 27_000_000 })
    expect(
      faultsOf({ ...environment, PRICES: '{"gpt-image-1":{"text_in":-1},"gpt-image-2":{"image_out":"x"}}' }),
    ).toMatch(
      /^1 of the settings.*\n {2}PRICES: found .*; wanted gpt-image-1\.text_in: .*; not -1; gpt-image-2\..*; not "x"$/,
    )
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

  it('reads what signs webhooks, and where they may go', () => {
    const environment = { ...storage, AZURE_OPENAI_TARGET_URI: targetUri }
    expect(readSettings(environment)).toMatchObject({ webhooks: { secrets: [], hosts: [] } })
    const secrets = [24, 25, 26, 64].map((size) => `whsec_${Buffer.alloc(size, 'x').toString('base64')}`)
    const all = {
      WEBHOOK_SECRETS: secrets.join(', '),
      WEBHOOK_HOSTS: 'hooks.corp.example:8080',
    }
    expect(readSettings({ ...environment, ...all })).toMatchObject({
      webhooks: { secrets, hosts: [{ name: 'hooks.corp.example', isSuffix: false, port: '8080' }] },
    })
    const short = `whsec_${Buffer.alloc(23, 'x').toString('base64')}`
    for (const secret of [short, secrets[0]!.slice(6), 'whsec_no-base64-but-long-enough-to-be-one']) {
      const message = faultsOf({ ...environment, WEBHOOK_SECRETS: `${secrets[0]},${secret}` })
      expect(message).toMatch(/WEBHOOK_SECRETS: found .*; wanted secrets with commas/)
      expect(message).not.toContain(secret)
    }
    expect(faultsOf({ ...environment, WEBHOOK_HOSTS: 'https://x.example' })).toMatch(
      /WEBHOOK_HOSTS: found .*; wanted hosts with commas/,
    )
  })

  it('reads the hosts whose images edits may start from; none of itself', () => {
    const environment = { ...storage, AZURE_OPENAI_TARGET_URI: targetUri }
    expect(readSettings(environment).inputHosts).toEqual([])
    expect(
      readSettings({ ...environment, INPUT_HOSTS: 'img.example.com, *.example.org' }).inputHosts,
    ).toEqual([
      { name: 'img.example.com', isSuffix: false, port: '' },
      { name: 'example.org', isSuffix: true, port: '' },
    ])
    expect(faultsOf({ ...environment, INPUT_HOSTS: 'https://img.example.com/' })).toMatch(
      /INPUT_HOSTS: found .*; wanted hosts with commas/,
    )
  })

  it('refuses what contradicts the Target URI, and plain http to another machine', () => {
    expect(
      faultsOf({ ...storage, AZURE_OPENAI_TARGET_URI: targetUri, AZURE_OPENAI_DEPLOYMENT: 'other' }),
    ).toContain('AZURE_OPENAI_DEPLOYMENT: found other; wanted nothing, or gpt-image-1')
    // What cannot be read hides no other fault.
    const both = { AZURE_OPENAI_TARGET_URI: targetUri, AZURE_OPENAI_DEPLOYMENT: 'other', PACE: 'fast' }
    expect(faultsOf({ ...storage, ...both })).toMatch(
      /^2 of the settings.*PACE: found "fast".*_DEPLOYMENT: /s,
    )
    expect(faultsOf({ ...storage, AZURE_OPENAI_ENDPOINT: 'http://models.example.com' })).toContain('https')
  })
})
