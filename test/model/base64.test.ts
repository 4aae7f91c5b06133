import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeBase64 } from '../../src/model/base64.ts'

test('what was written in base64 is read, with its padding and without', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => {
      const base64 = Buffer.from(bytes).toString('base64')
      expect(decodeBase64(base64)).toEqual(bytes)
      expect(decodeBase64(base64.replace(/=+$/, ''))).toEqual(bytes)
    }),
  )
})

test('nothing else is', () => {
  const digits = fc.constantFrom('A', 'Q', 'z', '9', '+', '/', '=', '-', '_', ' ', '\n', '*', 'Ł')
  fc.assert(
    fc.property(fc.string({ unit: digits, maxLength: 12 }), (text) => {
      const isBase64 = /^[A-Za-z0-9+/]+={0,2}$/.test(text) && text.replace(/=+$/, '').length % 4 !== 1
      expect(decodeBase64(text) !== undefined).toBe(isBase64)
    }),
    { numRuns: 2_000 },
  )
})
