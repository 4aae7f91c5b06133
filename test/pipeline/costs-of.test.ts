import { expect, test } from 'vitest'
import { costsOf } from '../../src/pipeline/context.ts'
import { contextIn, newWorld } from '../support/context.ts'

test('a pool that the settings do not have costs nobody knows what: never nothing', () => {
  const context = contextIn(newWorld())
  expect(costsOf(context, 'pool').leastMicroUsd).toBeGreaterThan(0)
  expect(() => costsOf(context, 'another')).toThrow('pool another is not in the settings')
})
