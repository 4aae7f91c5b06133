import { describe, expect, it, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { readSettings, SettingsError } from '../../src/settings.ts'

const storage = { AzureWebJobsStorage: 'UseDevelopmentStorage=true' }
const endpoint = 'https://studio.openai.azure.com'
const targetUri = `${endpoint}/openai/deployments/images-1/images/generations?api-version=2025-04-01-preview`
const entry = { name: 'a', endpoint, rpm: 60 }
const other = { name: 'b', endpoint, rpm: 60 }

function read(list: unknown, changes: Record<string, string> = {}) {
  const text = typeof list === 'string' ? list : JSON.stringify(list)
  return readSettings({ ...storage, IMAGE_DEPLOYMENTS: text, ...changes })
}

/** The lines of the message, without their indent. */
function faultsOf(list: unknown, changes: Record<string, string> = {}): readonly string[] {
  try {
    read(list, changes)
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    const [first, ...lines] = error.message.split('\n')
    expect(first).toBe(`${lines.length} of the settings cannot be used:`)
    return lines.map((line) => line.trim())
  }
  return []
}

describe('a list of deployments', () => {
  it('becomes pools by model and quotas by group, in its own order', () => {
    const { pools } = read(
      [
        { ...entry, name: 'x', model: 'gpt-image-1' },
        { ...entry, name: 'y', model: 'gpt-image-2', rpm: 30, quota_group: 'shared' },
        { ...entry, name: 'z', model: 'gpt-image-1', rpm: 0.5 },
        { ...entry, name: 'w', model: 'gpt-image-2', rpm: 30, quota_group: 'shared' },
        { ...entry, name: 'v', model: 'gpt-image-2', rpm: 9 },
      ],
      { PACE: '0.5' },
    )
    const told = pools.map(({ name, profile, quotas }) => [
      name,
      profile.model,
      quotas.map(({ quota, rpm, deployments }) => [quota, rpm, deployments.map((each) => each.name).join()]),
    ])
    expect(told).toEqual([
      [
        'default',
        'gpt-image-1',
        [
          ['x', 60, 'x'],
          ['z', 0.5, 'z'],
        ],
      ],
      [
        'gpt-image-2',
        'gpt-image-2',
        [
          ['shared', 30, 'y,w'],
          ['v', 9, 'v'],
        ],
      ],
    ])
  })

  it('takes the address from the Target URI, or from its parts, with the name as the deployment', () => {
    const clientId = '7b0c5bd5-7ac8-4b5e-a5e5-4b1a0c8a2f11'
    const { pools } = read(
      [
        { name: 'whole', target_uri: targetUri, rpm: 1, key_setting: 'KEY_1' },
        {
          name: 'parts',
          endpoint: `${endpoint}/`,
          deployment: 'images-2',
          api_version: '2024-02-01',
          rpm: 1,
        },
        { name: 'images-3', endpoint, rpm: 1 },
      ],
      { KEY_1: ' secret-1 ', AzureWebJobsStorage__clientId: clientId },
    )
    const apiVersion = '2025-04-01-preview'
    const keyless = { endpoint, apiKey: undefined, clientId }
    expect(pools.flatMap(({ quotas }) => quotas.flatMap(({ deployments }) => deployments))).toEqual([
      { name: 'whole', endpoint, deployment: 'images-1', apiVersion, apiKey: 'secret-1', clientId },
      { name: 'parts', deployment: 'images-2', apiVersion: '2024-02-01', ...keyless },
      { name: 'images-3', deployment: 'images-3', apiVersion, ...keyless },
    ])
  })

  it("takes the model from Azure's name of the deployment, unless it is given", () => {
    const modelsIn = (fields: object) =>
      read([{ ...entry, ...fields }]).pools.map(({ profile }) => profile.model)
    expect(modelsIn({ deployment: 'team-gpt-image-2' })).toEqual(['gpt-image-2'])
    expect(modelsIn({ target_uri: targetUri.replace('images-1', 'gpt-image-1.5') })).toEqual([
      'gpt-image-1.5',
    ])
    expect(modelsIn({ deployment: 'team-gpt-image-2', model: 'gpt-image-1' })).toEqual(['gpt-image-1'])
    expect(modelsIn({})).toEqual(['gpt-image-1'])
  })

  it('may have a name in a group that is also the name of the group, and one address twice in it', () => {
    const { pools } = read([
      { ...entry, name: 'a', deployment: 'images', quota_group: 'a' },
      { ...entry, name: 'b', deployment: 'images', quota_group: 'a' },
    ])
    expect(pools.map(({ quotas }) => quotas.map(({ quota }) => quota))).toEqual([['a']])
  })

  it('is as long as the limit allows', () => {
    const list = Array.from({ length: limits.deploymentsMax }, (_, index) => ({
      ...entry,
      name: `d${index}`,
    }))
    expect(read(list).pools[0]?.quotas).toHaveLength(limits.deploymentsMax)
    const longer = [...list, { ...entry, name: 'more' }]
    expect(faultsOf(longer)).toEqual([
      'IMAGE_DEPLOYMENTS: found an array of 51; wanted a JSON array of 1 to 50 deployments',
    ])
  })
})

describe('a list that cannot be used', () => {
  const array = 'wanted a JSON array of 1 to 50 deployments'

  test.each([
    ['[]', `IMAGE_DEPLOYMENTS: found an array of 0; ${array}`],
    ['{}', `IMAGE_DEPLOYMENTS: found an object; ${array}`],
    ['"a"', `IMAGE_DEPLOYMENTS: found a string; ${array}`],
    ['null', `IMAGE_DEPLOYMENTS: found null; ${array}`],
  ])('%s', (text, fault) => {
    expect(faultsOf(text)).toEqual([fault])
  })

  it('is told where it stops being JSON', () => {
    expect(faultsOf('[{"name":"a"')).toEqual([
      expect.stringMatching(
        /^IMAGE_DEPLOYMENTS: found 12 characters that are not JSON \(.* position 12\b.*; wanted a JSON array of 1/,
      ),
    ])
  })

  it('is not quoted: a key may be in it', () => {
    for (const text of [
      'secret-of-a',
      '{"key": secret-of-a}',
      '[{"api_key":"secret-of-a"',
      '["secret-of-a"]',
    ]) {
      expect(faultsOf(text)).toHaveLength(1)
      expect(faultsOf(text).join()).not.toContain('secret')
    }
  })
})

describe('a fault of an entry names the entry, the field, what was found and what is wanted', () => {
  const name = 'a name: 1 to 64 of A-Z a-z 0-9 . _ -'
  const rpm = 'requests a minute, a number from 0.1 to 60000'
  const uri = 'the Target URI as the portal shows it: '
  const keySetting =
    'the name of a setting that is there and holds the key; without key_setting Entra ID is used'

  test.each<[unknown, string]>([
    [5, ': found a number; wanted an object with name, target_uri, endpoint, deployment'],
    [null, ': found null; wanted an object with name, '],
    [['a'], ': found an array; wanted an object with name, '],
    [{ ...entry, name: undefined }, '.name: found nothing; wanted a name of your own for the deployment'],
    [{ ...entry, name: '' }, `.name: found ""; wanted ${name}`],
    [{ ...entry, name: 'a b' }, `.name: found "a b"; wanted ${name}`],
    [{ ...entry, name: 'a/b' }, `.name: found "a/b"; wanted ${name}`],
    [{ ...entry, name: 'a'.repeat(65) }, `.name: found "${'a'.repeat(65)}"; wanted ${name}`],
    [{ ...entry, name: 5 }, `.name: found 5; wanted ${name}`],
    [{ ...entry, name: null }, `.name: found null; wanted ${name}`],
    [{ ...entry, rpm: undefined }, `.rpm: found nothing; wanted ${rpm}`],
    [{ ...entry, rpm: 0 }, `.rpm: found 0; wanted ${rpm}`],
    [{ ...entry, rpm: -1 }, `.rpm: found -1; wanted ${rpm}`],
    [{ ...entry, rpm: 60_001 }, `.rpm: found 60001; wanted ${rpm}`],
    [{ ...entry, rpm: '60' }, `.rpm: found "60"; wanted ${rpm}`],
    [{ ...entry, rpm: [60] }, `.rpm: found an array; wanted ${rpm}`],
    [
      { ...entry, model: 'dall-e-3' },
      '.model: found "dall-e-3"; wanted one of gpt-image-1, gpt-image-1-mini',
    ],
    [{ ...entry, model: 1 }, '.model: found 1; wanted one of gpt-image-1, '],
    [{ name: 'a', rpm: 60 }, `.target_uri: found nothing; wanted ${uri}`],
    [{ name: 'a', rpm: 60, deployment: 'images' }, `.target_uri: found nothing; wanted ${uri}`],
    [{ ...entry, target_uri: `${endpoint}/chat` }, `.target_uri: found "${endpoint}/chat"; wanted ${uri}`],
    [{ ...entry, target_uri: 'studio' }, '.target_uri: found "studio"; wanted an address such as https://'],
    [{ ...entry, target_uri: false }, '.target_uri: found false; wanted an address such as https://'],
    [
      { ...entry, target_uri: targetUri, endpoint: 'https://other.openai.azure.com' },
      `.endpoint: found https://other.openai.azure.com; wanted nothing, or ${endpoint} as IMAGE_DEPLOYMENTS[1].target_uri has it`,
    ],
    [
      { ...entry, target_uri: targetUri, deployment: 'images-2' },
      '.deployment: found images-2; wanted nothing, or images-1 as IMAGE_DEPLOYMENTS[1].target_uri has it',
    ],
    [
      { ...entry, target_uri: targetUri, api_version: '2024-02-01' },
      '.api_version: found 2024-02-01; wanted nothing, or 2025-04-01-preview as IMAGE_DEPLOYMENTS[1].target_uri has it',
    ],
    [
      { ...entry, endpoint: 'http://models.example.com' },
      '.endpoint: found "http://models.example.com"; wanted https',
    ],
    [{ ...entry, deployment: 'a b' }, `.deployment: found "a b"; wanted ${name}`],
    [
      { ...entry, api_version: 'v1' },
      '.api_version: found "v1"; wanted a version such as 2025-04-01-preview',
    ],
    [{ ...entry, quota_group: 'a|b' }, `.quota_group: found "a|b"; wanted ${name}`],
    [{ ...entry, key_setting: 'NOT_THERE' }, `.key_setting: found "NOT_THERE"; wanted ${keySetting}`],
    [{ ...entry, key_setting: 'EMPTY_KEY' }, `.key_setting: found "EMPTY_KEY"; wanted ${keySetting}`],
    [{ ...entry, key_setting: 'constructor' }, `.key_setting: found "constructor"; wanted ${keySetting}`],
    [
      { ...entry, key_setting: 'AzureWebJobsStorage' },
      '.key_setting: found "AzureWebJobsStorage"; wanted a setting that holds nothing but the key',
    ],
    [
      { ...entry, key_setting: 'a key' },
      '.key_setting: found "a key"; wanted the name of the setting that holds',
    ],
    [
      { ...entry, key_setting: 5 },
      '.key_setting: found 5; wanted the name of the setting that holds the key',
    ],
    [
      { ...entry, api_key: 'secret' },
      '.api_key: found an unknown field; wanted no such field; there are name, target_uri, endpoint, deployment, api_version, key_setting, rpm, model, quota_group',
    ],
  ])('%j', (faulty, fault) => {
    const sound = { ...entry, name: 'first', deployment: 'first' }
    const lines = faultsOf([sound, faulty], { EMPTY_KEY: ' ' })
    expect(lines).toHaveLength(1)
    expect(lines[0]).toContain(`IMAGE_DEPLOYMENTS[1]${fault}`)
  })

  it('knows no field by what every object has', () => {
    for (const field of ['constructor', '__proto__', 'toString']) {
      const text = JSON.stringify([{ ...entry, instead: 'secret' }]).replace('instead', field)
      expect(faultsOf(text)).toEqual([
        expect.stringMatching(
          `^IMAGE_DEPLOYMENTS\\[0\\]\\.${field}: found an unknown field; wanted no such field; `,
        ),
      ])
    }
  })

  it('shows no key that was put in the place of the name of its setting', () => {
    for (const key of ['3f9a0c5d7e1b42688d4e0f6a9b8c7d6e', 'aB3'.repeat(28), `sk-${'x'.repeat(40)}`]) {
      const [line] = faultsOf([{ ...entry, key_setting: key }])
      expect(line).toMatch(
        /^IMAGE_DEPLOYMENTS\[0\]\.key_setting: found .{3}….{2} \(\d+ characters\); wanted /,
      )
    }
    const long = 'AZURE_OPENAI_API_KEY_OF_SWEDEN_CENTRAL_2'
    expect(faultsOf([{ ...entry, key_setting: long }]).join()).toContain(`found "${long}"`)
  })

  it('names the setting whose key cannot be one, once, and does not show it', () => {
    const list = [entry, other].map((each) => ({ ...each, key_setting: 'STUDIO' }))
    expect(faultsOf(list, { STUDIO: 'secret of studio 1' })).toEqual([
      'STUDIO: found sec… 1 (18 characters); wanted a key without spaces, as IMAGE_DEPLOYMENTS names it for one',
    ])
  })
})

describe('a fault between entries', () => {
  test.each<[string, readonly object[], readonly string[]]>([
    [
      'two of one name',
      [entry, { ...other, name: 'a', deployment: 'images' }],
      ['IMAGE_DEPLOYMENTS[1].name: found "a"; wanted a name of its own: it is that of IMAGE_DEPLOYMENTS[0]'],
    ],
    [
      'one deployment with two budgets',
      [entry, { ...other, deployment: 'A' }],
      [
        `IMAGE_DEPLOYMENTS[1]: found deployment "A" of ${endpoint}; wanted another deployment, or one quota_group for both: it is that of IMAGE_DEPLOYMENTS[0], and has one limit`,
      ],
    ],
    [
      'a group of two models',
      [
        { ...entry, quota_group: 'g' },
        { ...other, quota_group: 'g', model: 'gpt-image-2' },
      ],
      [
        'IMAGE_DEPLOYMENTS[1].model: found "gpt-image-2"; wanted "gpt-image-1", as IMAGE_DEPLOYMENTS[0] of the same quota_group "g" has it',
      ],
    ],
    [
      'a group of two rates',
      [
        { ...entry, quota_group: 'g' },
        { ...other, quota_group: 'g', rpm: 30 },
        { ...other, name: 'c', quota_group: 'g' },
      ],
      [
        'IMAGE_DEPLOYMENTS[1].rpm: found 30; wanted 60, as IMAGE_DEPLOYMENTS[0] of the same quota_group "g" has it',
      ],
    ],
    [
      'a group with the name of a deployment outside',
      [entry, { ...other, quota_group: 'a' }],
      [
        'IMAGE_DEPLOYMENTS[1].quota_group: found "a"; wanted another name, or IMAGE_DEPLOYMENTS[0] in the group: it is that of IMAGE_DEPLOYMENTS[0]',
      ],
    ],
    [
      'a group with the name of a deployment of another group',
      [
        { ...entry, quota_group: 'b' },
        { ...other, quota_group: 'g' },
      ],
      [
        'IMAGE_DEPLOYMENTS[0].quota_group: found "b"; wanted another name, or IMAGE_DEPLOYMENTS[1] in the group: it is that of IMAGE_DEPLOYMENTS[1]',
      ],
    ],
    [
      'a name that is the model of another pool',
      [
        { ...entry, name: 'gpt-image-2', model: 'gpt-image-1' },
        { ...other, model: 'gpt-image-2' },
      ],
      [
        'IMAGE_DEPLOYMENTS[0].name: found "gpt-image-2"; wanted another name: it is the model of IMAGE_DEPLOYMENTS[1], and this one serves gpt-image-1',
      ],
    ],
  ])('%s', (_, list, faults) => {
    expect(faultsOf(list)).toEqual(faults)
  })

  it('does not hide behind a fault of an entry, nor follow from one', () => {
    const lines = faultsOf(
      [
        { ...entry, rpm: 0, quota_group: 'g', model: 'dall-e-3' },
        { ...entry, quota_group: 'g', model: 'gpt-image-2', endpoint: 'nowhere' },
        { name: 'b', rpm: 60, endpoint: 'nowhere' },
        { name: 'c', rpm: 60, endpoint, deployment: 'a b' },
        { name: 'd', rpm: 60, endpoint, deployment: 'c' },
      ],
      { PACE: '2', AzureWebJobsStorage: 'nothing' },
    )
    expect(lines.map((line) => line.replace(/;.*/, ''))).toEqual([
      'AzureWebJobsStorage: found 7 characters',
      'PACE: found "2"',
      'IMAGE_DEPLOYMENTS[0].rpm: found 0',
      'IMAGE_DEPLOYMENTS[0].model: found "dall-e-3"',
      'IMAGE_DEPLOYMENTS[1].endpoint: found "nowhere"',
      'IMAGE_DEPLOYMENTS[2].endpoint: found "nowhere"',
      'IMAGE_DEPLOYMENTS[3].deployment: found "a b"',
      'IMAGE_DEPLOYMENTS[1].name: found "a"',
    ])
  })
})

describe('beside a list', () => {
  test.each([
    ['AZURE_OPENAI_TARGET_URI', targetUri],
    ['AZURE_OPENAI_ENDPOINT', endpoint],
    ['AZURE_OPENAI_DEPLOYMENT', 'a'],
    ['AZURE_OPENAI_API_VERSION', '2025-04-01-preview'],
    ['IMAGE_MODEL', 'gpt-image-1'],
    ['IMAGE_RPM', '60'],
  ])('%s is refused', (name, value) => {
    expect(faultsOf([entry], { [name]: value })).toEqual([
      `${name}: found "${value}"; wanted nothing beside IMAGE_DEPLOYMENTS, which says it of each deployment`,
    ])
  })

  test.each(['AZURE_OPENAI_API_KEY', 'AZURE_API_KEY'])('%s is refused unless an entry names it', (name) => {
    const key = { [name]: 'secret-of-studio' }
    expect(faultsOf([entry], key)).toEqual([
      `${name}: found sec…io (16 characters); wanted nothing beside IMAGE_DEPLOYMENTS, or a key_setting there that names it`,
    ])
    const { pools } = read([{ ...entry, key_setting: name }, other], key)
    const keys = pools.flatMap(({ quotas }) => quotas.map(({ deployments }) => deployments[0]?.apiKey))
    expect(keys).toEqual(['secret-of-studio', undefined])
  })

  it('an empty one is none: the single deployment counts', () => {
    const single = { AZURE_OPENAI_TARGET_URI: targetUri, IMAGE_RPM: '30' }
    expect(read(' ', single)).toEqual(readSettings({ ...storage, ...single }))
  })
})
