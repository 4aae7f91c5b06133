import { sum } from '../../core/jobs/counters.ts'
import { countRows, readCounters } from './job-rows.ts'
import { limits } from '../../core/limits.ts'
import { emptyHookLog } from '../../core/batches/webhook.ts'
import type { BatchTable } from '../../ports/batches.ts'
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
      for (let tries = 0; tries < limits.commitTriesMax; tries += 1) {
        const entity = await table.get({ partition: batch, row: batchRow })
        const before = entity && readBatch(batch, entity)
        const after = before && change(before)
        if (after === undefined) return before
        const result = await table.transact(batch, [
          { kind: 'merge', row: batchRow, values: writeBatchChange(after), version: entity?.version },
        ])
        if (result.kind === 'committed') return after
      }
      throw new Error(`batch ${batch} could not be changed; too many writers`)
    },

    async saveFaults(batch, faults) {
      const writes = faults.map((fault, index): Write => {
        return { kind: 'insert', row: faultRow(index), values: writeFault(fault) }
      })
      // A conflict: an earlier try has written these, and the file is the same.
      for (let first = 0; first < writes.length; first += limits.transactionEntitiesMax) {
        await table.transact(batch, writes.slice(first, first + limits.transactionEntitiesMax))
      }
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
      for (let tries = 0; tries < limits.deliveryNoteTriesMax; tries += 1) {
        const before = await table.get({ partition: batch, row: hookRow })
        const values = writeHookLog(change(before === undefined ? emptyHookLog : readHookLog(before)))
        const write: Write =
          before === undefined
            ? { kind: 'insert', row: hookRow, values }
            : { kind: 'merge', row: hookRow, values, version: before.version }
        if ((await table.transact(batch, [write])).kind === 'committed') return
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
