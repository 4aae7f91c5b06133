import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { newKey, savedKeys, saveKeys, withKey, withoutKey, withRotatedKey } from '../../src/local/api-key.ts'
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

test('a key is rotated under its name, and keeps what it may', () => {
  const [first, second, third] = [newKey().sha256, newKey().sha256, newKey().sha256]
  const before = JSON.stringify({ studio: first, ops: { sha256: second, weight: 2, admin: true } })
  expect(JSON.parse(withRotatedKey(before, 'studio', third))).toEqual({
    ...JSON.parse(before),
    studio: third,
  })
  expect(JSON.parse(withRotatedKey(before, 'ops', third))).toEqual({
    studio: first,
    ops: { sha256: third, weight: 2, admin: true },
  })
})

test('a key is taken away, and the others stay as they are', () => {
  const ops = { sha256: newKey().sha256, admin: true }
  const before = JSON.stringify({ studio: newKey().sha256, ops })
  const after = withoutKey(before, 'studio')
  expect(JSON.parse(after)).toEqual({ ops })
  expect(withoutKey(after, 'ops')).toBe('{}')
})

test('a key that is not there is neither rotated nor taken away, and the message names those that are', () => {
  const before = JSON.stringify({ studio: newKey().sha256, ops: newKey().sha256 })
  for (const change of [
    () => withRotatedKey(before, 'main', newKey().sha256),
    () => withoutKey(before, 'main'),
    () => withoutKey(before, 'toString'),
  ]) {
    expect(change).toThrow(/^there is no key \w+; there are studio, ops$/)
  }
  expect(() => withoutKey('', 'main')).toThrow('there is no key main; there are none')
  expect(() => withoutKey('no json', 'main')).toThrow('DARKROOM_API_KEYS is not JSON')
})

test('what could not be used before is not passed on', () => {
  const before = JSON.stringify({ studio: newKey().sha256, ops: 'no hash' })
  expect(() => withRotatedKey(before, 'studio', newKey().sha256)).toThrow(/DARKROOM_API_KEYS\.ops/)
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
  const ordered =
    '{\n  "IsEncrypted": false,\n  "Values": {\n    "DARKROOM_API_KEYS": "{}",\n    "A": "1"\n  },\n  "Host": {}\n}\n'
  await writeFile(path, ordered)
  await saveKeys(path, '{}')
  expect(await readFile(path, 'utf8')).toBe(ordered)
  await rm(dir, { recursive: true })
})
