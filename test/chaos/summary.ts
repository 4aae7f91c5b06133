import type { Job } from '../../src/core/jobs/job.ts'
import { jobId } from '../../src/core/jobs/keys.ts'
import { allJobs, paidCalls } from './laws.ts'
import type { Records } from './records.ts'

export type Summary = {
  readonly jobs: number
  /** Repeats that jobs say they may have had. */
  readonly labelled: number
  readonly text: string
}

/** The figures of a run, for a person. */
export function summaryOf(records: Records): Summary {
  const { sent, log, killedAt } = records
  const jobs = allJobs(records)
  const finals = jobs.flatMap(({ phase }) => ('finishedAt' in phase ? [phase.finishedAt] : []))
  const labelled = jobs.reduce((sum, { possiblyRepeated }) => sum + possiblyRepeated, 0)
  const billed = [...paidCalls(records).values()].map(
    (calls) => calls.filter(({ answer }) => answer !== 'error').length,
  )
  const repeats = billed.reduce((sum, count) => sum + Math.max(0, count - 1), 0)
  const outcomes = countsOf(log.map(({ outcome }) => outcome))
  const settled = (Math.max(...finals) - (killedAt.at(-1) ?? Number.NaN)) / 1_000
  const lines: readonly (readonly [string, string])[] = [
    ['messages', `${sent.length}, ${sent.filter(({ isValid }) => !isValid).length} of them invalid`],
    ['jobs', `${jobs.length}: ${listed(countsOf(jobs.map(endOf)))}`],
    ['kills', String(killedAt.length)],
    ['calls', `${log.length}: ${listed(outcomes)}`],
    ['429s', `${outcomes.get('throttled') ?? 0} of the rate, ${outcomes.get('capacity') ?? 0} of capacity`],
    [
      'repeats',
      `${labelled} labelled in ${jobs.filter((job) => job.possiblyRepeated > 0).length} jobs, ${repeats} billed`,
    ],
    [
      'attempts',
      `at most ${Math.max(...jobs.map(({ attempts }) => attempts))} of a job (${mostTried(jobs)})`,
    ],
    ['last final', `${settled.toFixed(1)} s after the last kill`],
  ]
  return {
    jobs: jobs.length,
    labelled,
    text: lines.map(([name, value]) => `${name.padEnd(10)} ${value}`).join('\n'),
  }
}

function endOf({ phase }: Job): string {
  return phase.kind === 'failed' ? phase.failure.kind : phase.kind
}

function mostTried(jobs: readonly Job[]): string {
  const most = jobs.reduce((one, other) => (other.attempts > one.attempts ? other : one))
  return jobId(most)
}

function countsOf(names: readonly string[]): ReadonlyMap<string, number> {
  return new Map([...Map.groupBy(names, (name) => name)].map(([name, all]) => [name, all.length]))
}

function listed(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ')
}
