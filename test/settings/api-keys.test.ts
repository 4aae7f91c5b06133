import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { readSettings, SettingsError } from '../../src/settings.ts'

const sound = { AzureWebJobsStorage: 'UseDevelopmentStorage=true', AZURE_OPENAI_ENDPOINT: 'http://127.0.0.1' }
const hashOf = (key: string): string => createHash('sha256').update(key).digest('hex')

function read(keys: unknown) {
  const text = typeof keys === 'string' ? keys : JSON.stringify(keys)
  return readSettings({ ...sound, DARKROOM_API_KEYS: text })
}

function faultOf(keys: unknown, others: Record<string, string> = {}): string {
  const text = typeof keys === 'string' ? keys : JSON.stringify(keys)
  try {
    readSettings({ ...sound, DARKROOM_API_KEYS: text, ...others })
  } catch (error) {
    if (error instanceof SettingsError) return error.message.replace(/^1 of .*\n {2}/, '')
    throw error
  }
  return ''
}

test('a key is its hash, or its hash and what it may', () => {
  const keys = {
    studio: hashOf('a').toUpperCase(),
    'ci-2': { sha256: hashOf('b'), weight: 2, read_only: true, admin: true },
  }
  expect(read(keys).apiKeys).toEqual([
    { name: 'studio', sha256: hashOf('a'), weight: 1, isReadOnly: false, isAdmin: false },
    { name: 'ci-2', sha256: hashOf('b'), weight: 2, isReadOnly: true, isAdmin: true },
  ])
})

test('none is none', () => {
  expect(readSettings(sound).apiKeys).toEqual([])
  expect(read('').apiKeys).toEqual([])
  expect(read({}).apiKeys).toEqual([])
})

describe('a fault names its place, what was found, and what is wanted', () => {
  test.each([
    ['{', 'DARKROOM_API_KEYS: found text that is not JSON'],
    [[], 'DARKROOM_API_KEYS: found an array; wanted JSON such as'],
    [{ Studio: hashOf('a') }, 'DARKROOM_API_KEYS.Studio: found that name; wanted names of 1 to 32'],
    [{ ['a'.repeat(33)]: hashOf('a') }, `DARKROOM_API_KEYS.${'a'.repeat(33)}: found that name`],
    [{ a: 1 }, 'DARKROOM_API_KEYS.a: found a number; wanted the SHA-256'],
    [{ a: {} }, 'DARKROOM_API_KEYS.a.sha256: found nothing; wanted the SHA-256'],
    [{ a: 'short' }, 'DARKROOM_API_KEYS.a: found 5 characters; wanted the SHA-256'],
    [{ a: { sha256: 7 } }, 'DARKROOM_API_KEYS.a.sha256: found 7; wanted the SHA-256'],
    [{ a: { sha256: hashOf('a'), weight: 0 } }, 'DARKROOM_API_KEYS.a.weight: found 0; wanted a number from'],
    [
      { a: { sha256: hashOf('a'), admin: 'yes' } },
      'DARKROOM_API_KEYS.a.admin: found 3 characters; wanted true',
    ],
    [
      { a: { sha256: hashOf('a'), owner: null } },
      'DARKROOM_API_KEYS.a.owner: found null; wanted no such field',
    ],
    [
      { a: hashOf('a'), b: hashOf('a') },
      'DARKROOM_API_KEYS.b: found the hash of another key; wanted a hash of its own',
    ],
    [
      Object.fromEntries(Array.from({ length: limits.apiKeysMax + 1 }, (_, i) => [`k${i}`, hashOf(`${i}`)])),
      `DARKROOM_API_KEYS: found ${limits.apiKeysMax + 1} keys; wanted at most ${limits.apiKeysMax}`,
    ],
  ])('%#', (keys, fault) => {
    expect(faultOf(keys)).toContain(fault)
  })

  test('and shows no hash, and no key that stands in the place of one', () => {
    const key = `dk_${'k'.repeat(40)}`
    const message = faultOf({ a: key, b: { sha256: `${hashOf('b')}0` }, c: hashOf('c'), d: hashOf('c') })
    expect(message).toContain('DARKROOM_API_KEYS.a')
    for (const secret of [key, hashOf('b'), hashOf('c')]) expect(message).not.toContain(secret.slice(4, -2))
  })
})

describe('CORS_ORIGINS', () => {
  const origins = (text: string) => readSettings({ ...sound, CORS_ORIGINS: text }).corsOrigins

  test('are exact origins, or all', () => {
    expect(origins('')).toEqual([])
    expect(origins('https://a.example, http://localhost:3000')).toEqual([
      'https://a.example',
      'http://localhost:3000',
    ])
    expect(origins(' * ')).toEqual(['*'])
  })

  test.each(['https://a.example/', 'a.example', 'https://a.example,*', 'https://*.example', ','])(
    'are not %s',
    (text) => {
      expect(faultOf({}, { CORS_ORIGINS: text })).toMatch(/^CORS_ORIGINS: found .*; wanted origins such as/)
    },
  )
})

test.each(['WEBSITE_INSTANCE_ID', 'CONTAINER_NAME', 'WEBSITE_POD_NAME'])(
  'with WEBSITE_SITE_NAME and %s it runs on Azure, with one of them alone, or in development, it does not',
  (name) => {
    const signs = (set: Record<string, string>) => readSettings({ ...sound, ...set }).azureSigns
    const both = { WEBSITE_SITE_NAME: 'darkroom', [name]: 'x' }
    expect(signs(both)).toBe(`WEBSITE_SITE_NAME and ${name}`)
    expect(signs({ [name]: 'x' })).toBeNull()
    expect(signs({ WEBSITE_SITE_NAME: 'darkroom' })).toBeNull()
    expect(signs({ ...both, [name]: '' })).toBeNull()
    expect(signs({ ...both, AZURE_FUNCTIONS_ENVIRONMENT: 'Development' })).toBeNull()
    expect(signs({ ...both, AZURE_FUNCTIONS_ENVIRONMENT: 'Production' })).not.toBeNull()
  },
)
