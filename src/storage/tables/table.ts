/**
 * What the job and budget tables need of a table store: entities of named strings, transactions within a partition,
 * compare-and-set. Azure Table Storage is one such store; the simulation's memory is another, so that the code above
 * this line is the same in both.
 */
export type Table = {
  get(ref: { readonly partition: string; readonly row: string }): Promise<Entity | undefined>
  /** Rows from `from` up to, and without, `before`, in order. */
  range(query: RangeQuery): Promise<readonly Entity[]>
  transact(partition: string, writes: readonly Write[]): Promise<TransactResult>
  /** Deletes the row if it still has this version. */
  remove(ref: {
    readonly partition: string
    readonly row: string
    readonly version: string
  }): Promise<'removed' | 'conflict'>
}

export type Entity = { readonly row: string; readonly version: string; readonly values: Values }

export type Values = Readonly<Record<string, string>>

export type RangeQuery = {
  readonly partition: string
  readonly from: string
  readonly before: string
  readonly limit: number
  /** These values are enough, or none of them. */
  readonly only?: readonly string[]
}

/**
 * `merge` leaves values it does not name. Without a version any state of an existing row will do; a transaction's
 * `delete` knows no version, because the SDK sends none.
 */
export type Write =
  | { readonly kind: 'insert'; readonly row: string; readonly values: Values }
  | {
      readonly kind: 'merge'
      readonly row: string
      readonly values: Values
      readonly version?: string | undefined
    }
  | { readonly kind: 'delete'; readonly row: string }

/** All or nothing. `conflictAt`: the write that met another state than it asked for, where the store says so. */
export type TransactResult =
  | { readonly kind: 'committed'; readonly versions: readonly string[] }
  | { readonly kind: 'conflict'; readonly conflictAt: number | undefined }
