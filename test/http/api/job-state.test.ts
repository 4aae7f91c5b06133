import { expect, test } from 'vitest'
import { jobStates, phasesOf, stateOf } from '../../../src/http/api/job-state.ts'
import { jobIn, phaseKinds } from '../../core/sample.ts'

test.each([
  ['waiting', 'queued'],
  ['slotted', 'queued'],
  ['running', 'running'],
  ['succeeded', 'succeeded'],
  ['failed', 'failed'],
  ['cancelled', 'cancelled'],
] as const)('a job that is %s shows as %s', (kind, state) => {
  expect(stateOf(jobIn(kind))).toBe(state)
})

test('those that show as a state are those of its phases', () => {
  for (const kind of phaseKinds) {
    const shown = jobStates.filter((state) => phasesOf(state).some((each) => each === kind))
    expect(shown).toEqual([stateOf(jobIn(kind))])
  }
})
