import type { Sizes } from './conditions.ts'
import type { OwnRuns } from './own-runs.ts'

/** What the parts are told. */
export type Bench = {
  /** Fewer jobs and shorter bounds, to see whether it works. */
  readonly isQuick: boolean
  readonly sizes: Sizes
  readonly ownRuns: OwnRuns
  /** Only runners whose name has this in it. */
  readonly runnersLike: string
}
