import type { Flow } from '../core/fairness.ts'
import { priorityLines } from '../core/keys.ts'
import type { WaitingJob } from '../ports.ts'
import type { Darkroom } from './darkroom.ts'

/** What is known of a flow's waiting line after a round: its jobs by priority, in order of their due times. */
export type Line = { readonly jobs: readonly Iterated[]; readonly isEmpty: boolean; nextDueAt: number | null }

/** Jobs of one priority, and how many of them have got a slot. */
type Iterated = { readonly waiting: readonly WaitingJob[]; taken: number }

export const emptyLine: Line = { jobs: [], isEmpty: true, nextDueAt: null }

/** Jobs that are due later must not hide those of a lower priority that are due by then. */
export async function lookAt(
  room: Darkroom,
  { batch }: Flow,
  { limit, until }: { limit: number; until: number },
): Promise<Line> {
  const all: WaitingJob[] = []
  let from = priorityLines.at(0)
  while (from !== undefined) {
    const found: readonly WaitingJob[] = await room.jobs.firstWaiting({ batch, limit, from })
    all.push(...found)
    const isEnough = found.length < limit || all.filter(({ dueAt }) => dueAt <= until).length >= limit
    const last = found.at(-1)
    from =
      isEnough || last === undefined ? undefined : priorityLines.at(priorityLines.indexOf(last.priority) + 1)
  }
  const jobs = priorityLines.map((line) => ({
    waiting: all.filter(({ priority }) => priority === line),
    taken: 0,
  }))
  return { jobs, isEmpty: all.length === 0, nextDueAt: null }
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
