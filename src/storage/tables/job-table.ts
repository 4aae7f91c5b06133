import { changesCounters, count, countCancelled, reserve, type Counters } from '../../core/jobs/counters.ts'
import { failureKinds } from '../../core/jobs/failure.ts'
import type { Job, PhaseKind } from '../../core/jobs/job.ts'
import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { Clock } from '../../ports/clock.ts'
import type { IndexedJob, JobSnapshot, JobTable, SlotGrant, WaitingJob } from '../../ports/jobs.ts'
import { afterIndexRow, indexEnd, indexRowOf, indexStart, parseIndexRow, type IndexRow } from './row-keys.ts'
import {
  briefValues,
  jobRow,
  jobRows,
  readJob,
  writeChangedJob,
  writeNewJob,
  writePhase,
  writePlacedJob,
} from './job-rows.ts'
import { partitionWriter, type RowChange } from './partition-writer.ts'
import type { Entity, Table, Values, Write } from './table.ts'

/**
 * The job table, PartitionKey = batch. A change of a job writes its record, moves its one index row and counts, all in
 * one transaction. Deleting the index row is the lock: whoever finds it gone has been overtaken.
 *
 * `newId` gives each change a name of its own: when a transaction's answer is lost and the client sends it again, the
 * conflict that follows is our own, and the name in the record says so.
 */
export function jobTable(
  table: Table,
  { chance, newId, clock }: { chance: () => number; newId: () => string; clock: Clock },
): JobTable {
  const writer = partitionWriter(table, { chance, clock })

  async function isChangedBy(changeId: string, batch: string, key: string): Promise<boolean> {
    const entity = await table.get({ partition: batch, row: jobRow(key) })
    return entity?.values['changeId'] === changeId
  }

  return {
    async add(job) {
      const { batch, key } = job
      const changeId = newId()
      const result = await writer.write(batch, {
        key,
        writes: [
          { kind: 'insert', row: jobRow(key), values: { ...writeNewJob(job), changeId } },
          ...indexInsert(job),
        ],
        count: (counters) => count(counters, null, job),
        isApplied: async () => isChangedBy(changeId, batch, key),
        mayWaitMs: timing.intakeMayWaitMs,
      })
      return result.kind === 'written' ? 'added' : 'exists'
    },

    async get({ batch, key }) {
      const entity = await table.get({ partition: batch, row: jobRow(key) })
      return entity && { job: readJob({ batch, key }, entity), version: entity.version }
    },

    async change(before, after, { mayWaitMs = 0 } = {}) {
      const { batch, key } = after
      const changeId = newId()
      const result = await writer.write(batch, {
        key,
        writes: [
          {
            kind: 'merge',
            row: jobRow(key),
            values: { ...writeChangedJob(after), changeId },
            version: before.version,
          },
          ...indexMove(before.job, after),
        ],
        count: changesCounters(before.job, after)
          ? (counters) => count(counters, before.job, after)
          : undefined,
        isApplied: async () => isChangedBy(changeId, batch, key),
        mayWaitMs,
      })
      if (result.kind !== 'written') return undefined
      // An own change found written by an earlier try has a version nobody has told us.
      if (result.version !== '') return { job: after, version: result.version }
      const entity = await table.get({ partition: batch, row: jobRow(key) })
      return entity && ({ job: after, version: entity.version } satisfies JobSnapshot)
    },

    async slot({ grants, capMicroUsd }) {
      const results = await Promise.all(
        grants.map(async (grant) => {
          const { batch, key, upperMicroUsd } = grant
          const changeId = newId()
          const { kind } = await writer.write(batch, {
            key,
            writes: slotWrites(grant, { changeId, isReserved: capMicroUsd !== null }),
            ...(capMicroUsd === null
              ? { count: undefined }
              : {
                  count: (counters: Counters) => reserve(counters, upperMicroUsd),
                  cap: { microUsd: upperMicroUsd, capMicroUsd },
                }),
            isApplied: async () => isChangedBy(changeId, batch, key),
          })
          return { grant, kind }
        }),
      )
      return {
        granted: results.flatMap(({ grant, kind }) => (kind === 'written' ? [grant] : [])),
        isCapReached: results.some(({ kind }) => kind === 'over-cap'),
      }
    },

    async cancelQueued({ batch, limit, now }) {
      const range = async (kind: PhaseKind): Promise<readonly Entity[]> =>
        table.range({ partition: batch, from: indexStart(kind), before: indexEnd(kind), limit })
      const waiting = await range('waiting')
      // A job with a slot goes back to wait at times, and one that waits gets a slot: who is not here is found there.
      const rows = waiting.length > 0 ? waiting : await range('slotted')
      const results = await Promise.all(
        rows.map(async (row) => {
          const changeId = newId()
          const { kind } = await writer.write(
            batch,
            cancellation(row, { now, changeId, isApplied: async (key) => isChangedBy(changeId, batch, key) }),
          )
          return kind
        }),
      )
      return { found: rows.length, cancelled: results.filter((kind) => kind === 'written').length }
    },

    async firstWaiting({ batch, limit, from }) {
      const rows = await table.range({
        partition: batch,
        from: indexStart('waiting', { line: from }),
        before: indexEnd('waiting'),
        limit: Math.min(limit, limits.slotsPerTickMax),
      })
      return rows.flatMap((entity): WaitingJob[] => {
        const row = parseIndexRow(entity.row)
        const upperMicroUsd = Number(entity.values['upper'] ?? 0)
        return row === undefined
          ? []
          : [{ batch, key: row.key, dueAt: row.at, priority: row.priority, upperMicroUsd }]
      })
    },

    async countBefore({ waiting: { batch, key, dueAt, priority }, limit }) {
      const before = indexRowOf({ key, priority, phase: { kind: 'waiting', dueAt } })
      const rows = await table.range({
        partition: batch,
        from: indexStart('waiting'),
        before,
        limit,
        only: [],
      })
      return rows.length
    },

    async overdue({ batch, kind, before, limit }) {
      const rows = await rangeOf(table, batch, kind, { limit, before })
      return rows.map(({ key }) => ({ batch, key }))
    },

    async indexed({ batch, kind, after, from, limit }) {
      const first = after === undefined ? indexStart(kind, { at: from }) : afterIndexRow(kind, after)
      const rows = await table.range({ partition: batch, from: first, before: indexEnd(kind), limit })
      return rows.flatMap((entity): IndexedJob[] => {
        const row = parseIndexRow(entity.row)
        const failure = failureKinds.find((each) => each === entity.values['failure']) ?? null
        return row === undefined ? [] : [{ batch, ...row, failure }]
      })
    },

    async list({ batch, after, limit, isBrief = false }) {
      const rows = await table.range({
        partition: batch,
        // The name that follows in the order of rows: keys hold no character that comes before it.
        from: after === undefined ? jobRow('') : `${jobRow(after)}!`,
        before: jobRows.before,
        limit,
        ...(isBrief ? { only: briefValues } : {}),
      })
      return rows.map((entity) => readJob({ batch, key: entity.row.slice(jobRow('').length) }, entity))
    },
  }
}

function indexInsert(job: Job): readonly Write[] {
  return [{ kind: 'insert', row: indexRowOf(job), values: indexValues(job) }]
}

/** What is needed of a job by those who move it without reading its record. */
function indexValues({ phase, upperMicroUsd }: Pick<Job, 'phase' | 'upperMicroUsd'>): Values {
  if (phase.kind === 'failed') return { failure: phase.failure.kind }
  const isNeeded = phase.kind === 'waiting' || (phase.kind === 'slotted' && phase.isReserved)
  return isNeeded && upperMicroUsd > 0 ? { upper: String(upperMicroUsd) } : {}
}

function indexMove(before: Job, after: Job): readonly Write[] {
  const from = indexRowOf(before)
  const to = indexRowOf(after)
  if (from === to) return []
  return [{ kind: 'delete', row: from }, ...indexInsert(after)]
}

function slotWrites(
  grant: SlotGrant,
  { changeId, isReserved }: { changeId: string; isReserved: boolean },
): readonly Write[] {
  const { key, dueAt, slotAt, deployment, priority, upperMicroUsd } = grant
  const phase = { kind: 'slotted', slotAt, isReserved } as const
  const to = indexRowOf({ key, priority, phase })
  const from = indexRowOf({ key, priority, phase: { kind: 'waiting', dueAt } })
  return [
    {
      kind: 'merge',
      row: jobRow(key),
      values: { ...writePlacedJob({ phase, slotAt, deployment }), changeId },
    },
    { kind: 'delete', row: from },
    { kind: 'insert', row: to, values: indexValues({ phase, upperMicroUsd }) },
  ]
}

/** Deleting the index row is the lock, so the record need not be read. */
function cancellation(
  { row, values }: Entity,
  {
    now,
    changeId,
    isApplied,
  }: { now: number; changeId: string; isApplied: (key: string) => Promise<boolean> },
): RowChange {
  const { key = '' }: Partial<IndexRow> = parseIndexRow(row) ?? {}
  const phase = { kind: 'cancelled', finishedAt: now } as const
  const reservedMicroUsd = row.startsWith(indexStart('slotted')) ? Number(values['upper'] ?? 0) : 0
  return {
    key,
    writes: [
      {
        kind: 'merge',
        row: jobRow(key),
        values: { ...writePhase(phase), changeId },
      },
      { kind: 'delete', row },
      { kind: 'insert', row: indexRowOf({ key, priority: null, phase }), values: {} },
    ],
    count: (counters) => countCancelled(counters, { reservedMicroUsd, finishedAt: now }),
    isApplied: async () => isApplied(key),
  }
}

async function rangeOf(
  table: Table,
  batch: string,
  kind: PhaseKind,
  { limit, before }: { limit: number; before: number },
): Promise<readonly IndexRow[]> {
  const entities: readonly Entity[] = await table.range({
    partition: batch,
    from: indexStart(kind),
    before: indexStart(kind, { at: before }),
    limit: Math.min(limit, limits.slotsPerTickMax),
    only: [],
  })
  return entities.flatMap(({ row }) => parseIndexRow(row) ?? [])
}
