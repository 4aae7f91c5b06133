import {
  odata,
  RestError,
  TableTransaction,
  type TableClient,
  type TransactionAction,
  type UpdateMode,
} from '@azure/data-tables'
import type { Entity, RangeQuery, Table, TransactResult, Values, Write } from './table.ts'

/** A `Table` in Azure Table Storage. The table must exist. */
export function azureTable(client: TableClient): Table {
  return {
    async get({ partition, row }) {
      try {
        return toEntity(await client.getEntity(partition, row))
      } catch (error) {
        if (error instanceof RestError && error.statusCode === 404 && isRowMissing(error)) return undefined
        throw error
      }
    },
    range: async (query) => range(client, query),
    transact: async (partition, writes) => transact(client, partition, writes),
    async remove({ partition, row, version }) {
      try {
        await client.deleteEntity(partition, row, { etag: version })
        return 'removed'
      } catch (error) {
        if (error instanceof RestError && isConflict(error)) return 'conflict'
        throw error
      }
    },
  }
}

/**
 * Azurite's reader of transactions ends a line at U+2028 and U+2029, which a prompt may hold. They are kept as two
 * characters each, behind an escape that stands for itself when doubled.
 */
const escape = '\ue000'
const escaped = new Map([
  [escape, `${escape}${escape}`],
  ['\u2028', `${escape}8`],
  ['\u2029', `${escape}9`],
])
const unescaped = new Map([...escaped].map(([plain, kept]) => [kept, plain]))

function keep(value: string): string {
  return value.replaceAll(/[\ue000\u2028\u2029]/g, (found) => escaped.get(found) ?? found)
}

function restore(kept: string): string {
  return kept.replaceAll(/\ue000./g, (found) => unescaped.get(found) ?? found)
}

async function range(client: TableClient, query: RangeQuery): Promise<readonly Entity[]> {
  const { partition, from, before, limit, only } = query
  const filter = odata`PartitionKey eq ${partition} and RowKey ge ${from} and RowKey lt ${before}`
  const queryOptions =
    only === undefined ? { filter } : { filter, select: ['PartitionKey', 'RowKey', ...only] }
  const entities: Entity[] = []
  // A page may be short, even empty, with more to come (a server's time limit, a partition's end).
  const pages = client.listEntities({ queryOptions }).byPage({ maxPageSize: Math.min(limit, 1_000) })
  for await (const page of pages) {
    for (const entity of page) entities.push(toEntity(entity))
    if (entities.length >= limit) break
  }
  return entities.slice(0, limit)
}

async function transact(
  client: TableClient,
  partition: string,
  writes: readonly Write[],
): Promise<TransactResult> {
  const transaction = new TableTransaction()
  for (const write of writes) transaction.actions.push(toAction(partition, write))
  try {
    const response = await client.submitTransaction(transaction.actions)
    return { kind: 'committed', versions: response.subResponses.map(({ etag }) => etag ?? '') }
  } catch (error) {
    if (error instanceof RestError && isConflict(error)) {
      // The service begins the message with the index of the write that failed.
      const index = /^(\d+):/.exec(error.message)?.[1]
      return { kind: 'conflict', conflictAt: index === undefined ? undefined : Number(index) }
    }
    throw error
  }
}

function toAction(partition: string, write: Write): TransactionAction {
  const keys = { partitionKey: partition, rowKey: write.row }
  switch (write.kind) {
    case 'insert':
      return ['create', { ...kept(write.values), ...keys }]
    case 'merge': {
      const mode: UpdateMode = 'Merge'
      return ['update', { ...kept(write.values), ...keys }, mode, { etag: write.version ?? '*' }]
    }
    case 'delete':
      return ['delete', keys]
  }
}

function kept(values: Values): Values {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, keep(value)]))
}

function toEntity(entity: object): Entity {
  const values: Record<string, string> = {}
  let row = ''
  let version = ''
  for (const [name, value] of Object.entries(entity)) {
    if (typeof value !== 'string') continue
    if (name === 'rowKey') row = value
    else if (name === 'etag') version = value
    // The service's own facts have a dot in their names (`odata.metadata`), which no property may have.
    else if (name !== 'partitionKey' && name !== 'timestamp' && !name.includes('.'))
      values[name] = restore(value)
  }
  return { row, version, values: values satisfies Values }
}

/** A row that exists already, one that is gone, or one of another version. Anything else is a broken world. */
function isConflict(error: RestError): boolean {
  if (error.statusCode === 409) return error.code === 'EntityAlreadyExists'
  return error.statusCode === 412 || (error.statusCode === 404 && isRowMissing(error))
}

function isRowMissing(error: RestError): boolean {
  return error.code === 'ResourceNotFound' || error.message.includes('"ResourceNotFound"')
}
