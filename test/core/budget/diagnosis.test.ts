import { expect, test } from 'vitest'
import { newLevel, type Level, type Limits } from '../../../src/core/budget/level.ts'
import { opinion } from '../../../src/core/budget/diagnosis.ts'
import { frozen, t0 } from '../sample.ts'

const sixty: Limits = { rpm: 60, pace: 0.98, topPace: 0.995 }
const nine: Limits = { rpm: 9, pace: 0.98, topPace: 0.995 }

function levelOf(fields: Partial<Level> = {}): Level {
  return frozen({ ...newLevel(t0), limitRpm: 60, ...fields })
}

const refusal = { rpm: 31, at: t0 - 60_000 }
const pause = { until: t0 + 60_000, givenUntil: t0, settledAt: t0, tries: 2 }

test.each<[string, Level, Limits, RegExp]>([
  ['steady', newLevel(t0), sixty, /58\.8 a minute of 60 a minute are in force; nothing was refused/],
  ['steady', levelOf({ pause: { ...pause, cause: 'rate' } }), sixty, /nothing/],
  [
    'rising',
    levelOf({ heldRpm: 58.8, triedRpm: 59.1 }),
    sixty,
    /59\.1 a minute .* a little more is being tried/,
  ],
  [
    'rising',
    levelOf({ heldRpm: 29.4, triedRpm: 33 }),
    sixty,
    /29\.4 a minute hold .* 33 a minute are being tried/,
  ],
  [
    'at the refused level',
    levelOf({ heldRpm: 58.8, refusal: { rpm: 59.1, at: t0 } }),
    sixty,
    /within the hour/,
  ],
  ['steady', levelOf({ heldRpm: 58.8, refusal: { rpm: 59.1, at: t0 - 3_600_000 } }), sixty, /nothing/],
  ['at the refused level', levelOf({ heldRpm: 56.84, refusal: { rpm: 58, at: t0 } }), sixty, /now and then/],
  [
    'quota lowered or shared',
    levelOf({ heldRpm: 29.4, refusal }),
    sixty,
    /31 a minute were refused.*look the same/,
  ],
  ['quota lowered or shared', levelOf({ heldRpm: 29.4, triedRpm: 31, refusal }), sixty, /look the same/],
  ['quota lowered or shared', levelOf({ heldRpm: 29.4 }), sixty, /limit of 60 a minute\. A lowered/],
  [
    'another client',
    levelOf({ heldRpm: 29.4, refusal, surprisesAt: [t0 - 3, t0 - 2, t0 - 1] }),
    sixty,
    /at random, or the quota moves/,
  ],
  [
    'counts per 10 s',
    levelOf({ limitRpm: 9, heldRpm: 5.88, refusal }),
    nine,
    /a quota of 6 a minute looks the same/,
  ],
  ['quota lowered or shared', levelOf({ limitRpm: 9, heldRpm: 2.94, refusal }), nine, /look the same/],
  ['headers', levelOf({ toldRpm: 120 }), sixty, /117\.6 a minute of 120 a minute .* IMAGE_RPM is 60/],
  ['steady', levelOf({ toldRpm: 60 }), sixty, /nothing/],
  [
    'headers',
    levelOf({ toldRpm: 120, limitRpm: 120, heldRpm: 58.8, refusal: { rpm: 61, at: t0 } }),
    sixty,
    /say 120 a minute, but only about IMAGE_RPM is borne/,
  ],
  ['parked', levelOf({ pause: { ...pause, cause: 'parked' } }), sixty, /asks again in 60 s; refused 3 times/],
  ['parked', levelOf({ pause: { ...pause, cause: 'parked', until: t0 + 480_000 } }), sixty, /in 8 min/],
  ['capacity', levelOf({ pause: { ...pause, cause: 'capacity' } }), sixty, /our rate is not the reason/],
])('%s', (kind, level, limits, text) => {
  expect(opinion(level, limits, t0)).toEqual({ kind, text: expect.stringMatching(text) })
})
