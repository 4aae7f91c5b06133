import { describe, expect, test } from 'vitest'
import { readHostPatterns, type HostPattern } from '../../../src/core/destination.ts'
import {
  inputBlobName,
  jobOfInput,
  inputCount,
  isSameInputs,
  readRef,
  refsOf,
  refText,
  type InputRef,
  type Inputs,
} from '../../../src/core/requests/input-ref.ts'
import { limits } from '../../../src/core/limits.ts'
import { decodeBase64 } from '../../../src/model/base64.ts'

function hostsOf(text: string): readonly HostPattern[] {
  const read = readHostPatterns(text)
  if (read.kind !== 'patterns') throw new Error(`not hosts: ${read.entry}`)
  return read.patterns
}

const hosts = hostsOf('img.example.com, *.cdn.example.org, img.example.net:8443')

function read(value: unknown, allowed = hosts): unknown {
  const found = readRef(value, { hosts: allowed, decodeBase64 })
  return found.kind === 'ref' ? found.ref : found
}

describe('a reference', () => {
  test.each([
    ['file-abc_DEF-123', { kind: 'file', id: 'file-abc_DEF-123' }],
    [{ file_id: 'file-abc' }, { kind: 'file', id: 'file-abc' }],
    ['file-1.png', { kind: 'blob', name: 'file-1.png' }],
    ['cat.png', { kind: 'blob', name: 'cat.png' }],
    ['a/b c/ünicode (1).png', { kind: 'blob', name: 'a/b c/ünicode (1).png' }],
    ['C:cat.png', { kind: 'blob', name: 'C:cat.png' }],
    ['https://img.example.com/a.png?sig=1', { kind: 'url', url: 'https://img.example.com/a.png?sig=1' }],
    ['https://a.cdn.example.org', { kind: 'url', url: 'https://a.cdn.example.org/' }],
    [{ image_url: 'HTTPS://img.example.com/a' }, { kind: 'url', url: 'https://img.example.com/a' }],
  ])('%j is read', (value, ref) => {
    expect(read(value)).toEqual(ref)
  })

  test.each(['AAEC', 'AAECAw==', 'AAECAw'])('may be an image itself: %s', (base64) => {
    const bytes = new Uint8Array(Buffer.from(base64, 'base64'))
    expect(read(`data:image/png;base64,${base64}`)).toEqual({ kind: 'data', bytes })
    expect(read({ image_url: `data:image/jpeg;base64,${base64}` })).toEqual({ kind: 'data', bytes })
  })

  test.each([
    '',
    '/cat.png',
    'cats/',
    'a//b',
    '..',
    '../images/a.png',
    'a/../../files/b',
    './a',
    'a\\b',
    'a\nb',
    'a\u2028b',
    '\uD800',
    'x'.repeat(limits.inputNameCharsMax + 1),
    5,
    null,
    ['a.png'],
  ])('%j is none', (value) => {
    expect(read(value)).toMatchObject({ kind: 'fault', wanted: expect.stringContaining('a file id') })
  })

  test.each([
    {},
    { file_id: 'cat.png' },
    { file_id: 5 },
    { image_url: 'cat.png' },
    { image_url: 'http://img.example.com/a.png' },
    { file_id: 'file-a', image_url: 'https://img.example.com/a' },
    { url: 'https://img.example.com/a' },
  ])('%j is no object that refers to one', (value) => {
    const wanted =
      'an object with either a file_id (file-…), or an image_url (a data URL, or an https address)'
    expect(read(value)).toEqual({ kind: 'fault', shown: value, wanted })
  })

  test.each([
    ['https://other.example.com/a.png?sig=secret#x', 'is not at a host that this service may ask'],
    ['https://user:secret@img.example.com/a.png', 'must not hold a user name or a password'],
    ['https://img.example.com:8443/a.png', 'is not at a host that this service may ask'],
    ['http://img.example.com/a.png', 'must begin with https://'],
    ['file:///etc/passwd', 'must begin with https://'],
  ])('%s is not allowed, and its query is not told', (address, why) => {
    const found = read(address)
    expect(found).toMatchObject({
      kind: 'fault',
      wanted: `https addresses at the hosts of the setting INPUT_HOSTS (img.example.com, *.cdn.example.org, img.example.net:8443); this one ${why}`,
    })
    expect(JSON.stringify(found)).not.toContain('sig=')
  })

  test.each(['~kept/animals/fox-in-0-ab12', '~kept/x'])(
    '%s is kept for a job, and nobody may refer to it',
    (name) => {
      expect(read(name)).toMatchObject({ kind: 'fault', wanted: expect.stringContaining('~kept/') })
      expect(read({ image_url: name })).toMatchObject({ kind: 'fault' })
      expect(read(name.slice(1))).toEqual({ kind: 'blob', name: name.slice(1) })
    },
  )

  test('to another host says so when no host is allowed', () => {
    expect(read('https://img.example.com/a.png', [])).toMatchObject({
      shown: 'https://img.example.com/a.png',
      wanted: expect.stringContaining('INPUT_HOSTS (it names none)'),
    })
  })

  test('is told without a password', () => {
    expect(JSON.stringify(read('https://user:secret@img.example.com/a.png'))).not.toContain('secret')
  })

  test.each([
    ['data:text/plain;base64,AAEC', 'data:… (27 characters)', 'data URLs that begin with'],
    ['data:image/png,AAEC', 'data:… (19 characters)', 'data URLs that begin with'],
    ['data:image/png;base64,', 'data:image/png;base64,… (22 characters)', 'base64 behind the comma'],
    ['data:image/png;base64,A', 'data:image/png;base64,… (23 characters)', 'base64 behind the comma'],
    ['data:image/png;base64,AA*A', 'data:image/png;base64,… (26 characters)', 'base64 behind the comma'],
  ])('%s is told by its beginning', (value, shown, wanted) => {
    expect(read(value)).toMatchObject({ kind: 'fault', shown, wanted: expect.stringContaining(wanted) })
  })

  test('that is an image of too many bytes is not even decoded', () => {
    const long = `data:image/png;base64,${'A'.repeat((limits.inputImageBytesMax * 4) / 3 + 4)}`
    expect(read(long)).toMatchObject({ wanted: `images of at most ${limits.inputImageBytesMax} bytes` })
  })
})

const cat = { kind: 'blob', name: 'cat.png' } as const
const file = { kind: 'file', id: 'file-a' } as const
const url = { kind: 'url', url: 'https://img.example.com/a' } as const

test('a reference is told as it was written', () => {
  expect([cat, file, url].map(refText)).toEqual(['cat.png', 'file-a', 'https://img.example.com/a'])
})

test('inputs are counted with their mask', () => {
  expect(refsOf<InputRef>({ images: [cat, file], mask: url })).toEqual([cat, file, url])
  expect(inputCount({ inputs: { images: [cat, file], mask: url } })).toBe(3)
  expect(inputCount({ inputs: { images: [cat], mask: null } })).toBe(1)
  expect(inputCount({})).toBe(0)
})

test('inputs are the same when all of them are, in their order', () => {
  const inputs: Inputs = { images: [cat, file], mask: null }
  expect(isSameInputs(inputs, { images: [{ ...cat }, { ...file }], mask: null })).toBe(true)
  expect(isSameInputs(undefined, undefined)).toBe(true)
  const others: (Inputs | undefined)[] = [
    undefined,
    { images: [cat], mask: null },
    { images: [file, cat], mask: null },
    { images: [cat, file], mask: url },
  ]
  for (const other of others) {
    expect(isSameInputs(inputs, other)).toBe(false)
    expect(isSameInputs(other, inputs)).toBe(false)
  }
})

test('the blob of an image that came with its job is named after both', () => {
  const name = inputBlobName({ batch: 'animals', key: 'fox' }, { index: 2, fingerprint: 'ab12' })
  expect(name).toBe('~kept/animals/fox-in-2-ab12')
  expect(jobOfInput(name)).toEqual({ batch: 'animals', key: 'fox' })
  const alike = { batch: 'a-in-0', key: 'b-in-1-ab' }
  expect(jobOfInput(inputBlobName(alike, { index: 16, fingerprint: 'ab12' }))).toEqual(alike)
  for (const other of ['animals/fox-in-2-ab12', '~kept/fox.png', '~kept/a/b/c-in-0-ab']) {
    expect(jobOfInput(other)).toBeUndefined()
  }
})
