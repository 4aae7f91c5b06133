import type { Table } from '../../src/storage/tables/table.ts'

/** What becomes of a transaction whose answer is lost after it was applied. */
export type LostAnswer =
  /** The caller sees the connection fail. */
  | 'throws'
  /** The client sends it again, as the SDK does, and the caller sees what the second time answers. */
  | 'sent-again'

/** A table whose next transactions are applied, but not answered, when `lose` says so. */
export function losingAnswers(table: Table, lose: () => LostAnswer | undefined): Table {
  return {
    ...table,
    async transact(partition, writes) {
      const lost = lose()
      const result = await table.transact(partition, writes)
      if (lost === 'throws' && result.kind === 'committed') throw new Error('the answer was lost')
      return lost === 'sent-again' ? table.transact(partition, writes) : result
    },
  }
}
