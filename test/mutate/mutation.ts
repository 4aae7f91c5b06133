/** A rule that is taken out, to see whether a test tells. */
export type Mutation = {
  /** What a user would lose with it. */
  readonly why: string
  readonly file: string
  /** Stands in the file exactly once. */
  readonly find: string
  readonly replace: string
  /** The smallest test files that tell. */
  readonly tests: readonly string[]
  /** Only the tests of these files whose names hold this. */
  readonly named?: string
}
