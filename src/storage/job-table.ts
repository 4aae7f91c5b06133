import { changesCounters, count, sum } from '../core/counters.ts'
import type { Job } from '../core/job.ts'
import { indexRowOf, parseIndexRow, sortableTime, type IndexKind } from '../core/keys.ts'
import { limits } from '../core/limits.ts'
import type { JobSnapshot, JobTable, SlotGrant } from '../ports.ts'
import {
  batchRow,
  countRows,
  jobRow,
  readBatch,
  readCounters,
  readJob,
  writeBatch,
  writeChangedJob,
  writeNewJob,
  writePlacedJob,
} from './job-rows.ts'
import { partitionWriter } from './partition-writer.ts'
import type { Entity, Table, Write } from './table.ts'

/**
 * The job table, PartitionKey = batch. A change of a job writes its record, moves its one index row and counts, all in
 * one transaction. Deleting the index row is the lock: whoever finds it gone has been overtaken.
 *
 * `newId` gives each change a name of its own: when a transaction's answer is lost and the client sends it again, the
 * conflict that follows is our own, and the name in the record says so.
 */
export function jobTable(
  table: Table,
  { chance, newId }: { chance: () => number; newId: () => string },
): JobTable {
  const writer = partitionWriter(table, chance)

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
      })
      return result === undefined ? 'exists' : 'added'
    },

    async get({ batch, key }) {
      const entity = await table.get({ partition: batch, row: jobRow(key) })
      return entity && { job: readJob({ batch, key }, entity), version: entity.version }
    },

    async change(before, after) {
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
      })
      if (result === undefined) return undefined
      // An own change found written by an earlier try has a version nobody has told us.
      if (result.version !== '') return { job: after, version: result.version }
      const entity = await table.get({ partition: batch, row: jobRow(key) })
      return entity && ({ job: after, version: entity.version } satisfies JobSnapshot)
    },

    async slot(grants) {
      const granted = await Promise.all(
        grants.map(async (grant) => {
          const { batch, key } = grant
          const changeId = newId()
          const result = await writer.write(batch, {
            key,
            writes: slotWrites(grant, changeId),
            count: undefined,
            isApplied: async () => isChangedBy(changeId, batch, key),
          })
          return result === undefined ? [] : [grant]
        }),
      )
      return granted.flat()
    },

    async firstWaiting({ batch, limit }) {
      const rows = await rangeOf(table, batch, 'wait', { limit })
      return rows.map(({ at, key }) => ({ batch, key, dueAt: at }))
    },

    async countBefore({ waiting: { batch, key, dueAt }, limit }) {
      const before = indexRowOf(key, { kind: 'waiting', dueAt }) ?? ''
      const rows = await table.range({ partition: batch, from: 'wait:', before, limit, namesOnly: true })
      return rows.length
    },

    async overdue({ batch, kind, before, limit }) {
      const rows = await rangeOf(table, batch, kind, { limit, before })
      return rows.map(({ key }) => ({ batch, key }))
    },

    async openBatch(batch) {
      const values = writeBatch(batch)
      const result = await table.transact(batch.batch, [{ kind: 'insert', row: batchRow, values }])
      return result.kind === 'committed'
    },

    async getBatch(batch) {
      const [entity, ...counts] = await Promise.all(
        [batchRow, ...countRows].map(async (row) => table.get({ partition: batch, row })),
      )
      if (entity === undefined) return undefined
      const shards = counts.filter((shard) => shard !== undefined).map(readCounters)
      return { batch: readBatch(batch, entity), counters: sum(shards) }
    },
  }
}

function indexInsert(job: Job): readonly Write[] {
  const row = indexRowOf(job.key, job.phase)
  return row === null ? [] : [{ kind: 'insert', row, values: {} }]
}

function indexMove(before: Job, after: Job): readonly Write[] {
  const from = indexRowOf(before.key, before.phase)
  const to = indexRowOf(after.key, after.phase)
  if (from === to) return []
  return [...(from === null ? [] : [{ kind: 'delete', row: from } satisfies Write]), ...indexInsert(after)]
}

function slotWrites(grant: SlotGrant, changeId: string): readonly Write[] {
  const { key, dueAt, slotAt, deployment } = grant
  const phase = { kind: 'slotted', slotAt } as const
  const to = indexRowOf(key, phase)
  const from = indexRowOf(key, { kind: 'waiting', dueAt })
  if (from === null || to === null) return []
  return [
    {
      kind: 'merge',
      row: jobRow(key),
      values: { ...writePlacedJob({ phase, slotAt, deployment }), changeId },
    },
    { kind: 'delete', row: from },
    { kind: 'insert', row: to, values: {} },
  ]
}

async function rangeOf(
  table: Table,
  batch: string,
  kind: IndexKind,
  { limit, before }: { limit: number; before?: number },
): Promise<readonly { at: number; key: string }[]> {
  const entities: readonly Entity[] = await table.range({
    partition: batch,
    from: `${kind}:`,
    // ';' follows ':' in the order of characters.
    before: before === undefined ? `${kind};` : `${kind}:${sortableTime(before)}`,
    limit: Math.min(limit, limits.slotsPerTickMax),
    namesOnly: true,
  })
  return entities.flatMap(({ row }) => parseIndexRow(row) ?? [])
}
