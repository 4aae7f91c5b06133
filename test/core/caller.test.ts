import { expect, test } from 'vitest'
import { isSubmitted } from '../../src/core/timed-id.ts'
import { localCaller, mayUse } from '../../src/core/caller.ts'

test('a key may use its own, an admin all, and what nobody owns is for admins', () => {
  const shop = { key: 'shop', isAdmin: false, isReadOnly: false }
  expect(mayUse(shop, 'shop')).toBe(true)
  expect(mayUse(shop, 'studio')).toBe(false)
  expect(mayUse(shop, null)).toBe(false)
  expect(mayUse({ ...shop, key: null }, null)).toBe(false)
  expect(mayUse({ ...shop, isAdmin: true }, 'studio')).toBe(true)
  expect(mayUse(localCaller, null)).toBe(true)
})

test('a submitted batch is known by its id', () => {
  expect(isSubmitted('batch_0')).toBe(true)
  expect(isSubmitted('boats')).toBe(false)
})
