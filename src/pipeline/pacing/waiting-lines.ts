import { priorityLines } from '../../core/jobs/keys.ts'
import type { WaitingJob } from '../../ports/jobs.ts'
import type { Context } from '../context.ts'

/** What is known of a flow's waiting line after a round: its jobs by priority, in order of their due times. */
export type Line = {
  readonly jobs: readonly Iterated[]
  readonly isEmpty: boolean
  /** No more jobs of it wait than were read. */
  readonly isWhole: boolean
  nextDueAt: number | null
}

/** Jobs of one priority, and how many of them have got a slot. */
type Iterated = { readonly waiting: readonly WaitingJob[]; taken: number }

export const emptyLine: Line = { jobs: [], isEmpty: true, isWhole: true, nextDueAt: null }

/** Jobs that are due later must not hide those of a lower priority that are due by then. */
export async function lookAt(
  context: Context,
  { batch, limit, until }: { batch: string; limit: number; until: number },
): Promise<Line> {
  const all: WaitingJob[] = []
  let isWhole = false
  let from = priorityLines.at(0)
  while (from !== undefined) {
    const found: readonly WaitingJob[] = await context.jobs.firstWaiting({ batch, limit, from })
    all.push(...found)
    isWhole = found.length < limit
    const isEnough = isWhole || all.filter(({ dueAt }) => dueAt <= until).length >= limit
    const last = found.at(-1)
    from =
      isEnough || last === undefined ? undefined : priorityLines.at(priorityLines.indexOf(last.priority) + 1)
  }
  const jobs = priorityLines.map((line) => ({
    waiting: all.filter(({ priority }) => priority === line),
    taken: 0,
  }))
  return { jobs, isEmpty: all.length === 0, isWhole, nextDueAt: null }
}

/** The line without jobs that have got a slot already. */
export function withoutJobs(line: Line, keys: ReadonlySet<string>): Line {
  const jobs = line.jobs.map(({ waiting }) => ({
    waiting: waiting.filter(({ key }) => !keys.has(key)),
    taken: 0,
  }))
  return { ...line, jobs }
}

/** The first job that may start then; else notes when the line has one. */
export function takeDue(line: Line, slotAt: number): WaitingJob | undefined {
  line.nextDueAt = null
  for (const jobs of line.jobs) {
    const first = jobs.waiting[jobs.taken]
    if (first === undefined) continue
    if (first.dueAt <= slotAt) {
      jobs.taken += 1
      return first
    }
    line.nextDueAt = Math.min(line.nextDueAt ?? Infinity, first.dueAt)
  }
  return undefined
}
