/** A stored row that is not as this version wants it: a newer one wrote it, or somebody's hand. */
export class UnreadableRow extends Error {
  override readonly name = 'UnreadableRow'
  /** What the row holds: `job`, `flow`. */
  readonly holds: string

  constructor(holds: string, cause: unknown) {
    super(`a row that holds a ${holds} cannot be read`, { cause })
    this.holds = holds
  }
}

/** What the rows hold that an error, or one of those it is made of, could not read; each kind once. */
export function unreadableIn(error: unknown): readonly string[] {
  if (error instanceof UnreadableRow) return [error.holds]
  return error instanceof AggregateError ? [...new Set(error.errors.flatMap(unreadableIn))] : []
}
