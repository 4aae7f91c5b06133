import { isSubmitted } from '../core/batch-order.ts'
import { fingerprint, timedId } from '../core/keys.ts'
import type { Batch, BatchList } from '../ports.ts'
import type { Table } from './table.ts'
import { timeline } from './timeline.ts'

/** The batches in the order of time. A submitted one's id holds its time; one that was named gets such an id here. */
export function batchList(table: Table): BatchList {
  const line = timeline(table)
  return {
    async put({ batch, owner, createdAt }) {
      await line.put({ id: lineId({ batch, createdAt }), owner, values: { batch } })
    },

    async page({ owner, after, limit }) {
      const page = await line.page({ owner, after: after && lineId(after), limit })
      return {
        batches: page.entries.flatMap(({ values: { batch } }) => batch ?? []),
        hasMore: page.hasMore,
      }
    },
  }
}

function lineId({ batch, createdAt }: Pick<Batch, 'batch' | 'createdAt'>): string {
  return isSubmitted(batch) ? batch : timedId('batch_', createdAt, fingerprint(batch))
}
