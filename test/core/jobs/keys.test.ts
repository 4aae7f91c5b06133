import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fingerprint } from '../../../src/core/fingerprint.ts'
import {
  imageBlobNames,
  imageBlobStems,
  inboxName,
  isSyncLine,
  ownerOfInbox,
  jobId,
  keyOf,
  parseJobId,
  priorityLines,
} from '../../../src/core/jobs/keys.ts'
import {
  indexRowOf,
  ownerPartition,
  parseIndexRow,
  sortableTime,
  timelineRow,
} from '../../../src/storage/tables/row-keys.ts'
import { roundToMicros } from '../../../src/core/budget/ledger.ts'
import { contentOfFile, fileOfUpload } from '../../../src/core/upload.ts'
import { timedId, timeOfId } from '../../../src/core/timed-id.ts'
import { limits } from '../../../src/core/limits.ts'
import { batchNamePattern, type Priority } from '../../../src/core/requests/submission.ts'
import { phaseKinds, phaseOf, t0 } from '../sample.ts'

/** Custom ids as they come: plain ones, ones near the edges of plain, and any text. */
const idArbitrary = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'aA1._-~/ é'.split('')), minLength: 1, maxLength: 6 }),
  fc.string({
    unit: fc.constantFrom(...'ab'.split('')),
    minLength: 60,
    maxLength: limits.customIdCharsMax,
    size: 'max',
  }),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: limits.customIdCharsMax }),
)
const kindArbitrary = fc.constantFrom('custom-id', 'message', 'idempotency', 'rejected')
const originArbitrary = fc.record({ kind: kindArbitrary, id: idArbitrary })
const batchArbitrary = fc
  .stringMatching(batchNamePattern)
  .map((name) => name.slice(0, limits.batchNameCharsMax))
const timeArbitrary = fc.double({ min: 0, max: t0 * 2, noNaN: true }).map(roundToMicros)

describe('the key of a job', () => {
  test.each([
    ['custom-id', 'fox-1', 'fox-1'],
    ['custom-id', 'Fox_1.b', 'Fox_1.b'],
    ['custom-id', 'a fox', `a-fox~${fingerprint('a fox')}`],
    ['custom-id', '../fox', `-fox~${fingerprint('../fox')}`],
    ['custom-id', '.', `-~${fingerprint('.')}`],
    ['custom-id', 'fox.', `fox-~${fingerprint('fox.')}`],
    ['custom-id', 'f'.repeat(64), 'f'.repeat(64)],
    ['custom-id', 'f'.repeat(65), `${'f'.repeat(32)}~${fingerprint('f'.repeat(65))}`],
    ['message', '1a2b', 'msg~1a2b'],
    ['message', 'a b', `message~${fingerprint('a b')}`],
    ['idempotency', 'plain', `idempotency~${fingerprint('plain')}`],
    ['rejected', 'plain', `rejected~${fingerprint('plain')}`],
  ] as const)('of %s %j is %j', (kind, id, key) => {
    expect(keyOf({ kind, id })).toBe(key)
  })

  test('is another for every other origin', () => {
    fc.assert(
      fc.property(originArbitrary, originArbitrary, (a, b) => {
        fc.pre(a.kind !== b.kind || a.id !== b.id)
        expect(keyOf(a)).not.toBe(keyOf(b))
      }),
      { numRuns: 2_000 },
    )
  })

  test('is valid in a table, in a blob name and in a URL, and short', () => {
    fc.assert(
      fc.property(originArbitrary, (origin) => {
        const key = keyOf(origin)
        expect(key).toMatch(/^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$/)
        expect(key.endsWith('.')).toBe(false)
        expect(encodeURIComponent(key)).toBe(key)
        expect(key.length).toBeLessThanOrEqual(limits.plainKeyCharsMax + 'msg~'.length)
      }),
    )
  })
})

describe('the id of a job', () => {
  test('is read back to its batch and key', () => {
    fc.assert(
      fc.property(batchArbitrary, originArbitrary, (batch, origin) => {
        const ref = { batch, key: keyOf(origin) }
        expect(parseJobId(jobId(ref))).toEqual(ref)
      }),
    )
  })

  test.each([
    '',
    'batch',
    'batch.',
    '.key',
    'a/b.key',
    'batch.k/y',
    `${'b'.repeat(65)}.k`,
    `b.${'k'.repeat(201)}`,
  ])('%j is none', (id) => {
    expect(parseJobId(id)).toBeUndefined()
  })

  test('of a single job names the day, in UTC', () => {
    expect(inboxName(Date.UTC(2026, 10, 23, 23, 59, 59, 999))).toBe('inbox-2026-11-23')
    expect(inboxName(Date.UTC(2026, 10, 24))).toMatch(batchNamePattern)
  })

  test('of a single job for another pool than the first names the pool too, in plain characters', () => {
    const day = Date.UTC(2026, 10, 23)
    expect(inboxName(day, { pool: null })).toBe(inboxName(day))
    expect(inboxName(day, { pool: 'gpt-image-2.5_flare/eu' })).toBe('inbox-2026-11-23_gpt-image-2-5_flare-eu')
    expect(inboxName(day, { pool: 'gpt-image-2.5_flare/eu' })).toMatch(batchNamePattern)
  })
})

describe('the inbox of an API key', () => {
  const day = Date.UTC(2026, 10, 23)

  test('is its own, for each pool', () => {
    expect(inboxName(day, { line: 'sync', owner: 'studio-2' })).toBe('sync-2026-11-23__studio-2')
    expect(inboxName(day, { owner: 'studio-2' })).toBe('inbox-2026-11-23__studio-2')
    expect(inboxName(day, { owner: 'studio-2', pool: 'gpt-image-2' })).toBe(
      'inbox-2026-11-23__studio-2_gpt-image-2',
    )
    const longest = inboxName(day, { owner: 'k'.repeat(32), pool: 'gpt-image-1-mini' })
    expect(longest).toMatch(/^inbox-2026-11-23__k{32}_[0-9a-f]{8}$/)
    expect(longest.length).toBeLessThanOrEqual(limits.batchNameCharsMax)
  })

  test.each([
    ['inbox-2026-11-23', null],
    ['inbox-2031-01-01', null],
    ['inbox-2026-11-23_gpt-image-2', null],
    ['inbox-2026-11-23__', null],
    ['inbox-2026-11-23__studio', 'studio'],
    ['sync-2026-11-23__studio', 'studio'],
    ['inbox-2026-11-23__studio_gpt-image-2', 'studio'],
  ])('is known by its name: %s', (name, owner) => {
    expect(ownerOfInbox(name)).toEqual({ owner })
  })

  test.each([
    ['sync-2026-11-23', true],
    ['sync-2026-11-23__studio', true],
    ['inbox-2026-11-23', false],
    ['sync-toys', false],
  ])('is, or is not, a line of calls that are waited for: %s, %s', (name, isSync) => {
    expect(isSyncLine(name)).toBe(isSync)
  })

  test.each(['inbox', 'inbox-toys', 'my-inbox-2026-11-23', 'inbox-2026-11-23x', 'toys'])(
    'is not %s',
    (name) => {
      expect(ownerOfInbox(name)).toBeUndefined()
    },
  )
})

describe('the name of an image', () => {
  test('is made of the batch, the key and its number, with one dot', () => {
    expect(imageBlobNames({ batch: 'b', key: 'fox' }, 0, '.png')[0]).toBe('b/fox-0.png')
    expect(imageBlobStems({ batch: 'b', key: 'fox' }, 0).first).toBe('b/fox-0.')
  })

  test('begins as its batch wants it', () => {
    const [first, other] = imageBlobNames({ batch: 'b', key: 'fox', output: 'summer/fox' }, 1, '.png')
    expect(first).toBe('summer/fox-1.png')
    expect(other).toBe(`summer/fox-1~${fingerprint('b.fox')}.png`)
  })

  test('where another job has it is one that no job has as its first', () => {
    const outputs = fc.stringMatching(/^[a-z0-9~/-]{1,40}$/)
    fc.assert(
      fc.property(outputs, outputs, fc.nat({ max: 20 }), (a, b, i) => {
        const [, other] = imageBlobNames({ batch: 'a', key: 'a', output: a }, 0, '.png')
        const [first, othersOther] = imageBlobNames({ batch: 'b', key: 'b', output: b }, i, '.png')
        expect([first, othersOther]).not.toContain(other)
        const [guessed] = imageBlobNames({ batch: 'b', key: 'b', output: other.slice(0, -4) }, i, '.png')
        expect(guessed).not.toBe(other)
      }),
    )
  })

  test('is another for every other job and number', () => {
    const nameArbitrary = fc.tuple(batchArbitrary, originArbitrary, fc.nat({ max: 20 }))
    fc.assert(
      fc.property(nameArbitrary, nameArbitrary, ([batchA, a, i], [batchB, b, k]) => {
        const [refA, refB] = [
          { batch: batchA, key: keyOf(a) },
          { batch: batchB, key: keyOf(b) },
        ]
        fc.pre(jobId(refA) !== jobId(refB) || i !== k)
        expect(imageBlobNames(refA, i, '.png')[0]).not.toBe(imageBlobNames(refB, k, '.png')[0])
      }),
    )
  })
})

describe('an index row', () => {
  test.each(phaseKinds)('of a job that is %s', (kind) => {
    const phase = phaseOf(kind)
    const row = indexRowOf({ key: 'fox', priority: null, phase })
    const times = { waiting: 'dueAt', slotted: 'slotAt', running: 'leaseUntil' }
    const time = Object.entries(times).find(([k]) => k === kind)?.[1] ?? 'finishedAt'
    expect(phase).toMatchObject({ [time]: parseIndexRow(row)?.at })
  })

  const priorityArbitrary = fc.constantFrom<(Priority | null)[]>('low', 'normal', 'high', null)
  const waiting = (key: string, priority: Priority | null, dueAt: number): string =>
    indexRowOf({ key, priority, phase: { kind: 'waiting', dueAt } })

  test('of a waiting job sorts by priority, then by time, and is read back to all of it', () => {
    const jobArbitrary = fc.tuple(priorityArbitrary, timeArbitrary)
    fc.assert(
      fc.property(jobArbitrary, jobArbitrary, originArbitrary, ([lineA, a], [lineB, b], origin) => {
        const key = keyOf(origin)
        const rows = [waiting(key, lineA, a), waiting(key, lineB, b)] as const
        expect(parseIndexRow(rows[0])).toEqual({ at: a, key, priority: lineA })
        const lines = priorityLines.indexOf(lineA) - priorityLines.indexOf(lineB)
        expect(Math.sign(lines || a - b)).toBe(rows[0] < rows[1] ? -1 : rows[0] > rows[1] ? 1 : 0)
      }),
    )
  })

  test('of a job with a slot, or one that runs, sorts by time alone, and is read back to its time and key', () => {
    fc.assert(
      fc.property(
        timeArbitrary,
        timeArbitrary,
        priorityArbitrary,
        originArbitrary,
        (a, b, priority, origin) => {
          const key = keyOf(origin)
          for (const kind of ['slotted', 'running'] as const) {
            const rowAt = (at: number, own: Priority | null): string =>
              indexRowOf({
                key,
                priority: own,
                phase: { kind, slotAt: at, isReserved: false, leaseUntil: at },
              }) ?? ''
            expect(parseIndexRow(rowAt(a, priority))).toEqual({ at: a, key, priority: null })
            expect(Math.sign(a - b)).toBe(
              rowAt(a, priority) < rowAt(b, null) ? -1 : rowAt(a, priority) > rowAt(b, null) ? 1 : 0,
            )
          }
        },
      ),
    )
  })

  test('of a job without a priority of its own stands before those that are low', () => {
    expect(priorityLines).toEqual(['high', 'normal', null, 'low'])
    const rows = priorityLines.map((priority) => waiting('fox', priority, t0))
    expect(rows.toSorted()).toEqual(rows)
    expect(rows.map((row) => row.slice(0, 'wait:0'.length))).toEqual(['wait:0', 'wait:1', 'wait:2', 'wait:3'])
  })

  test('of a line that nobody knows counts as one without a priority', () => {
    expect(parseIndexRow(`wait:9${sortableTime(t0)}|k`)).toEqual({ at: t0, key: 'k', priority: null })
  })

  test('of anything else is none', () => {
    const time = sortableTime(t0)
    const others = [
      'batch',
      `job:${time}|k`,
      `wait:${time}|k`,
      `wait:2${time}|`,
      `slot:${time}|`,
      'wait:1|k',
      '',
    ]
    for (const row of others) expect(parseIndexRow(row)).toBeUndefined()
  })
})

test('times are microseconds, padded', () => {
  expect(sortableTime(1_795_428_000_000.125)).toBe('01795428000000125')
  expect(roundToMicros(1.000_4)).toBe(1)
  expect(roundToMicros(1.000_6)).toBe(1.001)
})

test('a fingerprint is 128 bits of SHA-256', () => {
  expect(fingerprint('abc')).toBe('ba7816bf8f01cfea414140de5dae2223')
})

describe('ids that hold their time', () => {
  const uuid = '6F9619FF-8B86-D011-B42D-00CF4FC964FF'

  test('say when their thing was made, and fit an address', () => {
    const id = timedId('batch_', t0 + 0.75, uuid)
    expect(id).toBe(`batch_${Math.floor(t0).toString(36).padStart(9, '0')}6f9619ff8b86d011b42d00cf4fc964ff`)
    expect(id).toMatch(/^[A-Za-z0-9_-]{1,64}$/)
    expect(timeOfId(id)).toBe(Math.floor(t0))
    expect(timeOfId(timedId('file-', 0, 'x'))).toBe(0)
  })

  test.each([
    '',
    'file-',
    'file-abc',
    'file-1mcqvlkow1',
    'file-0mcqvlko-1',
    `file-${'0'.repeat(58)}`,
    'run_0mcqvlkow1',
  ])('%j is none', (id) => {
    expect(timeOfId(id)).toBeUndefined()
  })

  test('of an upload and of the file that it becomes lead to the same content', () => {
    const upload = timedId('upload_', t0, uuid)
    expect(timeOfId(upload)).toBe(Math.floor(t0))
    const file = fileOfUpload(upload, t0 + 60_000)
    expect(file).toMatch(/^file-[0-9a-z]{51}$/)
    expect(timeOfId(file)).toBe(Math.floor(t0) + 60_000)
    expect(contentOfFile(file)).toBe(upload)
    expect(fileOfUpload(upload, t0 + 60_001)).not.toBe(file)
    for (const other of [timedId('file-', t0, uuid), 'file-', '', upload, `${file}-1`]) {
      expect(contentOfFile(other)).toBe(other)
    }
  })

  test('sort by time in their line, either way', () => {
    const rows = (order: 'asc' | 'desc') =>
      [t0, t0 + 1, t0 + 1_000, t0 * 1.5].map((at) =>
        timelineRow(order, timedId('file-', at, 'a'), Math.floor(at)),
      )
    expect(rows('asc').toSorted()).toEqual(rows('asc'))
    expect(rows('desc').toSorted()).toEqual(rows('desc').toReversed())
  })
})

test('the partition of a key takes any name, and no two have the same', () => {
  expect(ownerPartition('shop-1')).toBe('key:shop-1')
  expect(ownerPartition('a/b #?')).toBe(`key:~${fingerprint('a/b #?')}`)
})
