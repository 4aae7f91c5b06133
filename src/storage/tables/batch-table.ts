import { sum } from '../../core/jobs/counters.ts'
import { countRows, readCounters } from './job-rows.ts'
import { limits } from '../../core/limits.ts'
import { piecesOf } from '../../core/pieces.ts'
import { emptyHookLog } from '../../core/batches/webhook.ts'
import type { BatchTable } from '../../ports/batches.ts'
import { compareAndSet, overtaken, TooManyWriters } from '../compare-and-set.ts'
import {
  batchRow,
  faultRow,
  hookRow,
  readBatch,
  readFault,
  readHookLog,
  writeBatch,
  writeBatchChange,
  writeFault,
  writeHookLog,
  writeTerms,
} from './batch-rows.ts'
import type { Table, Write } from './table.ts'

/** The rows of the job table that belong to a batch, and to none of its jobs. */
export function batchTable(table: Table): BatchTable {
  return {
    async openBatch(batch) {
      const partition = batch.batch
      const values = writeBatch(batch)
      const result = await table.transact(partition, [{ kind: 'insert', row: batchRow, values }])
      if (result.kind === 'committed') return batch
      const entity = await table.get({ partition, row: batchRow })
      return entity === undefined ? batch : readBatch(partition, entity)
    },

    async saveTerms(batch, terms) {
      await table.transact(batch, [{ kind: 'merge', row: batchRow, values: writeTerms(terms) }])
    },

    async changeBatch(batch, change) {
      return compareAndSet(`batch ${batch}`, async () => {
        const entity = await table.get({ partition: batch, row: batchRow })
        const before = entity && readBatch(batch, entity)
        const after = before && change(before)
        if (after === undefined) return before
        const result = await table.transact(batch, [
          { kind: 'merge', row: batchRow, values: writeBatchChange(after), version: entity?.version },
        ])
        return result.kind === 'committed' ? after : overtaken
      })
    },

    async saveFaults(batch, faults) {
      const writes = faults.map((fault, index): Write => {
        return { kind: 'insert', row: faultRow(index), values: writeFault(fault) }
      })
      // A conflict: an earlier try has written these, and the file is the same.
      for (const piece of piecesOf(writes, limits.transactionEntitiesMax)) await table.transact(batch, piece)
    },

    async faults(batch) {
      const range = { partition: batch, from: 'fault:', before: 'fault;' }
      return (await table.range({ ...range, limit: limits.faultsKeptMax })).map(readFault)
    },

    async readBatch(batch) {
      const entity = await table.get({ partition: batch, row: batchRow })
      return entity && readBatch(batch, entity)
    },

    async readHookLog(batch) {
      const entity = await table.get({ partition: batch, row: hookRow })
      return entity && readHookLog(entity)
    },

    async changeHookLog(batch, change) {
      const attempt = async () => {
        const before = await table.get({ partition: batch, row: hookRow })
        const values = writeHookLog(change(before === undefined ? emptyHookLog : readHookLog(before)))
        const write: Write =
          before === undefined
            ? { kind: 'insert', row: hookRow, values }
            : { kind: 'merge', row: hookRow, values, version: before.version }
        return (await table.transact(batch, [write])).kind === 'committed' || overtaken
      }
      try {
        await compareAndSet(`webhook log of batch ${batch}`, attempt, limits.deliveryNoteTriesMax)
      } catch (error) {
        // It is only shown: one try of many may be missing.
        if (!(error instanceof TooManyWriters)) throw error
      }
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
