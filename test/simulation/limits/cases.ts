import type { Truth } from './world.ts'

/** What a deployment may do to us, for any quota. Spans are minutes; `rpm` is the setting IMAGE_RPM. */
export type Case = { readonly name: string; readonly truth: (rpm: number) => Truth }

const minute = 60_000

function truthOf(rpm: number, truth: Partial<Truth>): Truth {
  return {
    minutes: 60,
    rpm,
    pace: 0.98,
    quota: [{ from: 0, rpm }],
    neighbours: [],
    rounding: 'ceil',
    countRejected: true,
    windows: 'rolling',
    hints: 1,
    spells: [],
    capacity: 0,
    blocks: [],
    demand: [{ from: 0, rpm: undefined }],
    ...truth,
  }
}

function span(from: number, until: number): { from: number; until: number } {
  return { from: from * minute, until: until * minute }
}

/** Lowered at the 10th minute, raised back at the 35th. */
function cut(share: number, other: Partial<Truth> = {}): Case['truth'] {
  return (rpm) =>
    truthOf(rpm, {
      quota: [
        { from: 0, rpm },
        { from: 10 * minute, rpm: rpm * share },
        { from: 35 * minute, rpm },
      ],
      ...other,
    })
}

/** A fifth from the 5th minute, half from the 25th, gone at the 45th. */
function shared(rhythm: 'even' | 'random', other: Partial<Truth> = {}): Case['truth'] {
  return (rpm) =>
    truthOf(rpm, {
      neighbours: [
        { ...span(5, 25), rpm: rpm / 5, rhythm },
        { ...span(25, 45), rpm: rpm / 2, rhythm },
      ],
      ...other,
    })
}

const fixed: Partial<Truth> = { windows: 'fixed' }
const lenient: Partial<Truth> = { countRejected: false }

export const cases: readonly Case[] = [
  { name: 'a  cut to a half', truth: cut(1 / 2) },
  { name: 'a  cut to a half, lenient', truth: cut(1 / 2, lenient) },
  { name: 'a  cut to a half, no waits said', truth: cut(1 / 2, { hints: 0 }) },
  { name: 'a  cut to a third', truth: cut(1 / 3) },
  { name: 'a  cut to a third, half the waits said', truth: cut(1 / 3, { hints: 0.5 }) },
  { name: 'a  cut to 80 %', truth: cut(0.8) },
  { name: 'a  cut to 80 %, no waits said', truth: cut(0.8, { hints: 0 }) },
  { name: 'b  another client, even', truth: shared('even') },
  { name: 'b  another client, even, lenient', truth: shared('even', lenient) },
  { name: 'b  another client, even, no waits said', truth: shared('even', { hints: 0 }) },
  { name: 'b  another client, random', truth: shared('random') },
  { name: 'b  another client, random, lenient', truth: shared('random', lenient) },
  { name: 'c  windows rounded down', truth: (rpm) => truthOf(rpm, { rounding: 'floor' }) },
  {
    name: 'c  windows rounded down, lenient',
    truth: (rpm) => truthOf(rpm, { rounding: 'floor', ...lenient }),
  },
  {
    name: 'd  header says double, and so it is',
    truth: (rpm) => truthOf(rpm, { quota: [{ from: 0, rpm: rpm * 2, header: rpm * 2 }] }),
  },
  {
    name: 'd  header says two thirds, and so it is',
    truth: (rpm) => truthOf(rpm, { quota: [{ from: 0, rpm: (rpm * 2) / 3, header: (rpm * 2) / 3 }] }),
  },
  {
    name: 'd  header says double, and lies',
    truth: (rpm) => truthOf(rpm, { quota: [{ from: 0, rpm, header: rpm * 2 }] }),
  },
  {
    name: 'd  cut to a half and back, header says so',
    truth: (rpm) =>
      truthOf(rpm, {
        quota: [
          { from: 0, rpm, header: rpm },
          { from: 10 * minute, rpm: rpm / 2, header: rpm / 2 },
          { from: 35 * minute, rpm, header: rpm },
        ],
      }),
  },
  {
    name: 'e  high demand for 3 and 6 minutes',
    truth: (rpm) => truthOf(rpm, { spells: [span(10, 13), span(30, 36)] }),
  },
  { name: 'e  high demand, 1 in 50', truth: (rpm) => truthOf(rpm, { capacity: 0.02 }) },
  { name: 'f  retry after a day, for 20 minutes', truth: (rpm) => truthOf(rpm, { blocks: [span(10, 30)] }) },
  { name: 'g  nothing wrong', truth: (rpm) => truthOf(rpm, {}) },
  {
    name: 'g  nothing wrong, few jobs at times',
    truth: (rpm) =>
      truthOf(rpm, {
        demand: [
          { from: 0, rpm: undefined },
          { from: 10 * minute, rpm: rpm / 4 },
          { from: 30 * minute, rpm: undefined },
        ],
      }),
  },
  {
    name: 'h  cut to a half, idle for an hour',
    truth: (rpm) =>
      truthOf(rpm, {
        minutes: 120,
        quota: [
          { from: 0, rpm },
          { from: 10 * minute, rpm: rpm / 2 },
        ],
        demand: [
          { from: 0, rpm: undefined },
          { from: 30 * minute, rpm: 0 },
          { from: 90 * minute, rpm: undefined },
        ],
      }),
  },
  {
    name: 'h  cut to a half, raised while idle',
    truth: (rpm) =>
      truthOf(rpm, {
        minutes: 120,
        quota: [
          { from: 0, rpm },
          { from: 10 * minute, rpm: rpm / 2 },
          { from: 60 * minute, rpm },
        ],
        demand: [
          { from: 0, rpm: undefined },
          { from: 30 * minute, rpm: 0 },
          { from: 90 * minute, rpm: undefined },
        ],
      }),
  },
  { name: 'i  fixed windows, cut to a half', truth: cut(1 / 2, fixed) },
  { name: 'i  fixed windows, another client, even', truth: shared('even', fixed) },
  { name: 'i  fixed windows, another client, random', truth: shared('random', fixed) },
]
