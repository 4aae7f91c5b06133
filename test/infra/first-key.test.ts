import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { readSettings } from '../../src/settings.ts'
import { hook, removeAzd } from './hook-run.ts'

describe('keys, before provisioning', () => {
  test('a key is made where there is none: its hash for azd, itself once for a person', async () => {
    const { code, text, asked } = await hook('preprovision')
    expect(code).toBe(0)
    const [, key = ''] = /^ {2}(dk_[\w-]{43})$/m.exec(text) ?? []
    const sha256 = createHash('sha256').update(key).digest('hex')
    const value = JSON.stringify({ ops: { sha256, admin: true } })
    expect(asked).toEqual([['env', 'set', 'DARKROOM_API_KEYS', value, '--environment', 'studio']])
    expect(text).not.toContain(sha256)
    const { apiKeys } = readSettings({
      AzureWebJobsStorage: 'UseDevelopmentStorage=true',
      AZURE_OPENAI_ENDPOINT: 'http://127.0.0.1',
      DARKROOM_API_KEYS: value,
    })
    expect(apiKeys).toMatchObject([{ name: 'ops', sha256, isAdmin: true }])
  })

  const sha256 = 'c4'.repeat(32)
  test.each([
    `{"studio":"${sha256}"}`,
    ` {"a":{"sha256":"${sha256}","weight":2,"read_only":true,"admin":false}} `,
  ])('none is made beside %s', async (keys) => {
    expect(await hook('preprovision', { DARKROOM_API_KEYS: keys })).toEqual({ code: 0, text: '', asked: [] })
  })

  test('one that azd did not keep is not shown', async () => {
    const { code, text } = await hook('preprovision', { STUB_AZD_FAILS: 'ERROR: no environment' })
    expect(code).toBe(1)
    expect(text).toContain('azd env set DARKROOM_API_KEYS failed: ERROR: no environment')
    expect(text).not.toContain('dk_')
  })

  test('without azd the message says so', async () => {
    await removeAzd()
    const { code, text } = await hook('preprovision')
    expect([code, text]).toEqual([
      1,
      expect.stringMatching(/azd env set DARKROOM_API_KEYS failed: there is no azd on this machine/),
    ])
  })

  test.each(['CI', 'TF_BUILD', 'GITHUB_ACTIONS'])(
    'in a pipeline (%s) none is made, because its log is read',
    async (name) => {
      const { code, text, asked } = await hook('preprovision', { [name]: 'true' })
      expect([code, asked]).toEqual([1, []])
      expect(text).toMatch(/DARKROOM_API_KEYS is not set.*npm run key -- ops --admin/s)
      expect(text).not.toContain('dk_')
    },
  )

  test.each([
    ['a plain key', `{"studio":"dk_${'s'.repeat(43)}"}`, '.studio: found 46 characters; wanted the SHA-256'],
    [
      'one inside',
      `{"ci":{"sha256":"dk_${'s'.repeat(43)}"}}`,
      '.ci.sha256: found 46 characters; wanted the SHA-256',
    ],
    [
      'one as a name',
      `{"dk_${'s'.repeat(43)}":"${sha256}"}`,
      ', key 1: found 46 characters; wanted a name of 1 to 32',
    ],
    ['one alone', `dk_${'s'.repeat(43)}`, ': found 46 characters; wanted JSON such as'],
    ['no hash', '{"ci":{"admin":true}}', '.ci.sha256: found nothing; wanted the SHA-256'],
    ['a number', '{"ci":7}', '.ci: found a value that is no text; wanted the SHA-256'],
    ['a list', '[]', ': found 2 characters; wanted JSON such as'],
    [
      'a scope that is none',
      `{"ci":{"sha256":"${sha256}","admin":"yes"}}`,
      '.ci.admin: found 3 characters; wanted true or false',
    ],
    [
      'a field that is none',
      `{"ci":{"sha256":"${sha256}","scope":"ssss"}}`,
      '.ci: found 1 unknown field(s); wanted sha256, weight, read_only, admin',
    ],
    [
      'a field that every object has',
      `{"ci":{"sha256":"${sha256}","toString":"ssss"}}`,
      '.ci: found 1 unknown field(s); wanted sha256, weight, read_only, admin',
    ],
    [
      'too much weight',
      `{"ci":{"sha256":"${sha256}","weight":101}}`,
      '.ci.weight: found a value that is no text; wanted a number from 0.01 to 100',
    ],
    [
      'a hash twice',
      `{"a":"${sha256}","b":"${sha256.toUpperCase()}"}`,
      '.b: found the hash of a; wanted one of its own',
    ],
    [
      'too many',
      JSON.stringify(Object.fromEntries(Array.from({ length: 201 }, (_, n) => [`k${n}`, sha256]))),
      ': found 201 keys; wanted at most 200',
    ],
  ])('what the service would not take for keys is refused unseen: %s', async (_, keys, message) => {
    const { code, text, asked } = await hook('preprovision', { DARKROOM_API_KEYS: keys })
    expect([code, asked]).toEqual([1, []])
    expect(text).toContain(`  DARKROOM_API_KEYS${message}`)
    expect(text).not.toMatch(/ssss|c4c4/i)
    expect(() =>
      readSettings({
        AzureWebJobsStorage: 'UseDevelopmentStorage=true',
        AZURE_OPENAI_ENDPOINT: 'http://127.0.0.1',
        DARKROOM_API_KEYS: keys,
      }),
    ).toThrow('DARKROOM_API_KEYS')
  })
})
