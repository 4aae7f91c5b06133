import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { newKey, savedKeys, saveKeys, withKey } from '../../src/local/api-key.ts'
import { SettingsError } from '../../src/settings.ts'

const plain = { name: 'studio', isReadOnly: false, isAdmin: false }

test('a key has 256 bits of its own, and its hash is that of the whole key', () => {
  const { key, sha256 } = newKey()
  expect(key).toMatch(/^dk_[A-Za-z0-9_-]{43}$/)
  expect(sha256).toBe(createHash('sha256').update(key).digest('hex'))
  expect(newKey().key).not.toBe(key)
})

test('a key joins those that there are', () => {
  const { sha256 } = newKey()
  const first = withKey('', plain, sha256)
  expect(JSON.parse(first)).toEqual({ studio: sha256 })
  const second = newKey().sha256
  const wish = { name: 'ops', weight: 2, isReadOnly: true, isAdmin: true }
  expect(JSON.parse(withKey(first, wish, second))).toEqual({
    studio: sha256,
    ops: { sha256: second, weight: 2, read_only: true, admin: true },
  })
})

test('a name that is taken or none, and a weight that is none, are refused', () => {
  const { sha256 } = newKey()
  expect(() => withKey(JSON.stringify({ studio: sha256 }), plain, newKey().sha256)).toThrow(SettingsError)
  expect(() => withKey('', { ...plain, name: 'No' }, sha256)).toThrow(/DARKROOM_API_KEYS.No/)
  expect(() => withKey('', { ...plain, weight: Number.NaN }, sha256)).toThrow(/weight/)
  expect(() => withKey('[', plain, sha256)).toThrow(SettingsError)
})

test('saving changes that one value of local.settings.json', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'key-'))
  const path = join(dir, 'local.settings.json')
  expect(await savedKeys(path)).toBe('')
  await expect(saveKeys(path, '{}')).rejects.toThrow(SettingsError)
  await writeFile(path, JSON.stringify({ IsEncrypted: false, Values: { IMAGE_RPM: '9' } }))
  await saveKeys(path, '{"a":1}')
  expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({
    IsEncrypted: false,
    Values: { IMAGE_RPM: '9', DARKROOM_API_KEYS: '{"a":1}' },
  })
  expect(await savedKeys(path)).toBe('{"a":1}')
  await rm(dir, { recursive: true })
})
