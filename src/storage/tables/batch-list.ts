import { isSubmitted, timedId } from '../../core/timed-id.ts'
import { fingerprint } from '../../core/fingerprint.ts'
import type { Batch, BatchList } from '../../ports/batches.ts'
import type { Table } from './table.ts'
import { timeline } from './timeline.ts'

/** Entries read at a time, and for one page: a few named batches a day stand between the submitted ones. */
const rowsAtOnce = 200
const rowsReadMax = 20_000

/** The batches in the order of time. A submitted one's id holds its time; one that was named gets such an id here. */
export function batchList(table: Table): BatchList {
  const line = timeline(table)
  return {
    async put({ batch, owner, createdAt }) {
      await line.put({ id: lineId({ batch, createdAt }), owner, values: { batch } })
    },

    async claim({ owner, idempotencyKey, batch }) {
      const row = { partition: 'claim', row: fingerprint(JSON.stringify([owner, idempotencyKey])) }
      const insert = { kind: 'insert', row: row.row, values: { batch } } as const
      if ((await table.transact(row.partition, [insert])).kind === 'committed') return batch
      return (await table.get(row))?.values['batch'] ?? batch
    },

    async page({ owner, after, limit, isSubmittedOnly }) {
      const found: string[] = []
      let from = after && lineId(after)
      for (let read = 0; read < rowsReadMax; read += rowsAtOnce) {
        const page = await line.page({ owner, after: from, limit: rowsAtOnce })
        const names = page.entries.flatMap(({ values: { batch } }) => batch ?? [])
        found.push(...names.filter((batch) => !isSubmittedOnly || isSubmitted(batch)))
        if (found.length > limit || !page.hasMore) break
        from = page.entries.at(-1)?.id
      }
      return { batches: found.slice(0, limit), hasMore: found.length > limit }
    },
  }
}

function lineId({ batch, createdAt }: Pick<Batch, 'batch' | 'createdAt'>): string {
  return isSubmitted(batch) ? batch : timedId('batch_', createdAt, fingerprint(batch))
}
