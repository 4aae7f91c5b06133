import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  freeSizeProblem,
  profileNamed,
  profileOfDeployment,
  profiles,
} from '../../../src/core/requests/profiles.ts'

test('profiles are found by the name of their model', () => {
  for (const profile of profiles) expect(profileNamed(profile.model)).toBe(profile)
  expect(profileNamed('dall-e-3')).toBeUndefined()
  expect(new Set(profiles.map(({ model }) => model)).size).toBe(profiles.length)
})

test.each([
  ['gpt-image-2', 'gpt-image-2'],
  ['my-gpt-image-1-mini-east', 'gpt-image-1-mini'],
  ['GPT-Image-1.5', 'gpt-image-1.5'],
  ['prod-gpt-image-2.5-flare', 'gpt-image-2.5-flare'],
  ['pictures', 'gpt-image-1'],
])('a deployment named %s is taken for %s', (deployment, model) => {
  expect(profileOfDeployment(deployment).model).toBe(model)
})

test('the fixed sizes of every model are sizes that free sizes allow', () => {
  for (const size of profiles.flatMap(({ sizes }) => sizes)) {
    if (size !== 'auto') expect(freeSizeProblem(size)).toBeUndefined()
  }
})

test.each([
  ['1024x1024', undefined],
  ['3840x2160', undefined],
  ['2160x3840', undefined],
  ['1536x512', undefined],
  ['640x1024', undefined],
  ['1024', 'WIDTHxHEIGHT in pixels'],
  ['1024X1024', 'WIDTHxHEIGHT in pixels'],
  ['1024x1024 ', 'WIDTHxHEIGHT in pixels'],
  ['10240x1024', 'WIDTHxHEIGHT in pixels'],
  ['1025x1024', 'both sides divisible by 16'],
  ['1024x1025', 'both sides divisible by 16'],
  ['3856x2160', 'no side above 3840'],
  ['2048x672', 'a ratio of at most 3:1'],
  ['624x1040', '655,360 to 8,294,400 pixels'],
  ['3840x2176', '655,360 to 8,294,400 pixels'],
])('the size %s has the problem %s', (size, problem) => {
  expect(freeSizeProblem(size)).toBe(problem)
})

test('a free size is good exactly when it keeps every rule, whichever side is the longer', () => {
  const side = fc.oneof(
    fc.integer({ min: 1, max: 260 }).map((n) => n * 16),
    fc.integer({ min: 10, max: 4_200 }),
  )
  fc.assert(
    fc.property(side, side, (a, b) => {
      expect(freeSizeProblem(`${a}x${b}`)).toBe(freeSizeProblem(`${b}x${a}`))
      if (freeSizeProblem(`${a}x${b}`) === undefined) {
        expect([a % 16, b % 16]).toEqual([0, 0])
        expect(Math.max(a / b, b / a)).toBeLessThanOrEqual(3)
        expect(a * b).toBeLessThanOrEqual(3_840 * 2_160)
      }
    }),
    { numRuns: 1_000 },
  )
})
