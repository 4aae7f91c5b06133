import type { BatchState } from './batch-progress.ts'
import type { FailureKind } from '../jobs/failure.ts'
import type { FinalKind } from '../jobs/job.ts'

/** A finished job, as its index row tells of it. */
export type LiveJob = {
  readonly key: string
  readonly kind: FinalKind
  readonly finishedAt: number
  readonly failure: FailureKind | null
}

/** Where a reader of a batch's events is: they go by the time at which jobs finished, those of one moment by key. */
export type LivePlace =
  /** Behind this job; an empty key: at this time. */
  | { readonly kind: 'job'; readonly at: number; readonly key: string }
  /** The end of the batch was told, too. */
  | { readonly kind: 'end'; readonly at: number }

/** The id of an event: of letters, digits, `.`, `_`, `~` and `-`, so that headers and URLs take it as it is. */
export function liveId(place: LivePlace): string {
  const micros = Math.round(place.at * 1_000)
  return place.kind === 'end' ? `end.${micros}` : `${micros}.${place.key}`
}

export function parseLiveId(id: string): LivePlace | undefined {
  const end = /^end\.(\d{1,15}|\d{16})$/.exec(id)?.[1]
  if (end !== undefined) return { kind: 'end', at: Number(end) / 1_000 }
  const [, micros, key] = /^(\d{1,16})\.([A-Za-z0-9._~-]{0,200})$/.exec(id) ?? []
  return micros === undefined || key === undefined
    ? undefined
    : { kind: 'job', at: Number(micros) / 1_000, key }
}

export function placeOf({ finishedAt, key }: LiveJob): LivePlace {
  return { kind: 'job', at: finishedAt, key }
}

/** Negative when the first finished earlier. */
export function inOrder(a: LiveJob, b: LiveJob): number {
  return a.finishedAt - b.finishedAt || (a.key < b.key ? -1 : Number(a.key > b.key))
}

/** Nothing more happens to the batch unless somebody asks for its failed jobs again. */
export function isOver(state: BatchState): boolean {
  return state === 'completed' || state === 'cancelled' || state === 'failed'
}

/** Those that come next in the lists together, in order, as far as none of them could have one before it that is not read. */
export function mergeable(
  lists: readonly { readonly jobs: readonly LiveJob[]; readonly isWhole: boolean }[],
): readonly LiveJob[] {
  const ends = lists.flatMap(({ jobs, isWhole }) => {
    const last = jobs.at(-1)
    return isWhole || last === undefined ? [] : [last]
  })
  const all = lists.flatMap(({ jobs }) => jobs).sort(inOrder)
  const until = ends.sort(inOrder)[0]
  return until === undefined ? all : all.filter((job) => inOrder(job, until) <= 0)
}
