import { timeOfId } from '../../core/timed-id.ts'
import { ownerPartition, timelineRow } from './row-keys.ts'
import type { Entity, Table, Values, Write } from './table.ts'

/** Something that is listed by the time at which it was made; its id (`timedId`) holds that time. */
export type TimelineEntry = {
  readonly id: string
  /** The API key that it belongs to. */
  readonly owner: string | null
  /** Named strings; the name `owner` is taken. */
  readonly values: Values
}

/** A line of things in the order of time, of all and of each owner. No read grows with the length of the line. */
export type Timeline = {
  /** An entry that is there already gets the new values; its owner stays. */
  put(entry: TimelineEntry): Promise<void>
  get(id: string): Promise<TimelineEntry | undefined>
  /**
   * The entries behind `after`, newest first (`desc`) or oldest first; of all where no owner is named. `after` need not
   * be there any more: its place is in the id. An `after` that is no such id (`timeOfId`) is a fault of the caller.
   */
  page(query: {
    readonly owner: string | undefined
    readonly order?: Order | undefined
    readonly after?: string | undefined
    readonly limit: number
  }): Promise<{ readonly entries: readonly TimelineEntry[]; readonly hasMore: boolean }>
  /** False when it was not there. */
  remove(id: string): Promise<boolean>
}

type Order = 'asc' | 'desc'

const orders: readonly Order[] = ['desc', 'asc']

/** The partition of all entries. Those of a key are also in one of the key's own. */
const everybody = 'all'

/**
 * Each entry has two rows in a partition, one for each order, written in one transaction. The row among all is written
 * last and taken last: what it says is true of the owner's as well, and what was broken off is done by doing it again.
 */
export function timeline(table: Table): Timeline {
  async function get(id: string): Promise<TimelineEntry | undefined> {
    const createdAt = timeOfId(id)
    if (createdAt === undefined) return undefined
    const entity = await table.get({ partition: everybody, row: timelineRow('desc', id, createdAt) })
    return entity && toEntry(entity)
  }

  return {
    get,

    async put({ id, owner, values }) {
      for (const partition of partitionsOf(owner)) {
        const kept = { ...values, owner: owner ?? '' }
        const insert = writes(id, (row) => ({ kind: 'insert', row, values: kept }))
        if ((await table.transact(partition, insert)).kind === 'committed') continue
        const merge = writes(id, (row) => ({ kind: 'merge', row, values }))
        if ((await table.transact(partition, merge)).kind === 'committed') continue
        throw new Error(`entry ${id} was removed while it was written`)
      }
    },

    async page({ owner, order = 'desc', after, limit }) {
      const found = await table.range({
        partition: owner === undefined ? everybody : ownerPartition(owner),
        // No id has a character as small as a blank: the next row lies behind it.
        from: after === undefined ? `${order}:` : `${timelineRow(order, after, madeAt(after))} `,
        before: `${order};`,
        limit: limit + 1,
      })
      return { entries: found.slice(0, limit).map(toEntry), hasMore: found.length > limit }
    },

    async remove(id) {
      const entry = await get(id)
      if (entry === undefined) return false
      const removed: boolean[] = []
      for (const partition of partitionsOf(entry.owner)) {
        const result = await table.transact(
          partition,
          writes(id, (row) => ({ kind: 'delete', row })),
        )
        removed.push(result.kind === 'committed')
      }
      return removed.at(-1) === true
    },
  }
}

function partitionsOf(owner: string | null): readonly string[] {
  return owner === null ? [everybody] : [ownerPartition(owner), everybody]
}

function writes(id: string, write: (row: string) => Write): readonly Write[] {
  return orders.map((order) => write(timelineRow(order, id, madeAt(id))))
}

function madeAt(id: string): number {
  const createdAt = timeOfId(id)
  if (createdAt === undefined) throw new Error(`${id} holds no time; wanted an id of timedId`)
  return createdAt
}

function toEntry({ row, values: { owner = '', ...values } }: Entity): TimelineEntry {
  return { id: row.slice(row.indexOf('|') + 1), owner: owner === '' ? null : owner, values }
}
