import type { Entity, Table, Write } from '../../src/storage/tables/table.ts'

/** What one transaction did to one row. */
export type RowMove = {
  readonly row: string
  readonly before: Entity | undefined
  readonly after: Entity | undefined
}

export type MemoryTable = Table & {
  /** All rows of a partition, in order. */
  rows(partition: string): readonly Entity[]
  partitions(): readonly string[]
}

/** A `Table` that keeps the rules of Azure Table Storage. `onCommit` sees every change as it is made. */
export function memoryTable(
  onCommit: (partition: string, moves: readonly RowMove[]) => void = () => {},
): MemoryTable {
  const partitions = new Map<string, SortedRows>()
  let versions = 0

  function rowsOf(partition: string): SortedRows {
    const rows = partitions.get(partition) ?? sortedRows()
    partitions.set(partition, rows)
    return rows
  }

  function applied(write: Write, before: Entity | undefined): Entity | undefined {
    if (write.kind === 'delete') return undefined
    versions += 1
    const values = write.kind === 'merge' ? { ...before?.values, ...write.values } : write.values
    return { row: write.row, version: `v${versions}`, values }
  }

  return {
    rows: (partition) => partitions.get(partition)?.all() ?? [],
    partitions: () => [...partitions.keys()],

    async get({ partition, row }) {
      return partitions.get(partition)?.get(row)
    },

    async range({ partition, from, before, limit, only }) {
      const found = partitions.get(partition)?.between(from, before, limit) ?? []
      if (only === undefined) return found
      const isKept = ([name]: readonly [string, string]): boolean => only.includes(name)
      return found.map((entity) => ({
        ...entity,
        values: Object.fromEntries(Object.entries(entity.values).filter(isKept)),
      }))
    },

    async transact(partition, writes) {
      checkTransaction(writes)
      const rows = rowsOf(partition)
      const conflictAt = writes.findIndex((write) => !isAllowed(write, rows.get(write.row)))
      if (conflictAt >= 0) return { kind: 'conflict', conflictAt }
      const moves = writes.map((write): RowMove => {
        const before = rows.get(write.row)
        const after = applied(write, before)
        rows.set(write.row, after)
        return { row: write.row, before, after }
      })
      onCommit(partition, moves)
      return { kind: 'committed', versions: moves.map(({ after }) => after?.version ?? '') }
    },

    async remove({ partition, row, version }) {
      const rows = rowsOf(partition)
      const before = rows.get(row)
      if (before?.version !== version) return 'conflict'
      rows.set(row, undefined)
      onCommit(partition, [{ row, before, after: undefined }])
      return 'removed'
    },
  }
}

/** The service's limit of entities in one transaction. */
const entitiesMax = 100

/** The service refuses the whole request: it is a fault of ours, not a conflict. */
function checkTransaction(writes: readonly Write[]): void {
  if (writes.length === 0 || writes.length > entitiesMax) {
    throw new Error(`a transaction of ${writes.length} writes; wanted 1 to ${entitiesMax}`)
  }
  if (new Set(writes.map(({ row }) => row)).size < writes.length) {
    throw new Error(`two writes to one row in one transaction: ${writes.map(({ row }) => row).join(', ')}`)
  }
}

function isAllowed(write: Write, before: Entity | undefined): boolean {
  switch (write.kind) {
    case 'insert':
      return before === undefined
    case 'merge':
      return before !== undefined && (write.version === undefined || write.version === before.version)
    case 'delete':
      return before !== undefined
  }
}

type SortedRows = {
  get(row: string): Entity | undefined
  set(row: string, entity: Entity | undefined): void
  between(from: string, before: string, limit: number): readonly Entity[]
  all(): readonly Entity[]
}

/** Rows in the order of their keys, found by halves. */
function sortedRows(): SortedRows {
  const entities = new Map<string, Entity>()
  const order: string[] = []

  /** Where the row stands, or would stand. */
  function placeOf(row: string): number {
    let low = 0
    let high = order.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (order[middle]! < row) low = middle + 1
      else high = middle
    }
    return low
  }

  return {
    get: (row) => entities.get(row),
    set(row, entity) {
      const isThere = entities.has(row)
      if (entity === undefined) {
        entities.delete(row)
        if (isThere) order.splice(placeOf(row), 1)
        return
      }
      entities.set(row, entity)
      if (!isThere) order.splice(placeOf(row), 0, row)
    },
    between(from, before, limit) {
      const found: Entity[] = []
      for (let place = placeOf(from); place < order.length && found.length < limit; place += 1) {
        const row = order[place]!
        if (row >= before) break
        found.push(entities.get(row)!)
      }
      return found
    },
    all: () => order.map((row) => entities.get(row)!),
  }
}
