import { failureKinds, type FailureKind } from '../../src/core/jobs/failure.ts'
import type { Job } from '../../src/core/jobs/job.ts'
import { retryJobs } from '../../src/pipeline/batches/batch-jobs.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { batchStatus } from '../../src/pipeline/status/status.ts'
import type { Chance } from '../../src/ports/clock.ts'
import { readJob } from '../../src/storage/tables/job-rows.ts'
import { assertReopenedAsAsked, type AskedRetry, type FailedJob } from '../support/laws.ts'
import type { MemoryTable } from '../support/memory-table.ts'
import type { Action, Scenario } from './world.ts'

/** People who ask for failed jobs again, and what came of it. */
export type Retries = {
  /** As POST /v1/batches/{name}/retry does; false when the batch is unknown, or cancelled. */
  ask(
    context: Context,
    asked: { readonly batch: string; readonly kinds: readonly FailureKind[] },
  ): Promise<boolean>
  observe(before: Job, after: Job): void
  assertKept(): void
}

export function retriesIn(jobs: MemoryTable): Retries {
  const asked: { retry: AskedRetry; isAnswered: boolean }[] = []
  const reopened: FailedJob[] = []
  return {
    async ask(context, { batch, kinds }) {
      const isOpen = async (): Promise<boolean> => {
        const status = await batchStatus(context, batch)
        return status !== undefined && status.terms.decision?.kind !== 'cancelled'
      }
      if (!(await isOpen())) return false
      const failedBefore = context.clock.now()
      const one = { retry: { batch, kinds, failedBefore, failed: failedIn(jobs, batch) }, isAnswered: false }
      asked.push(one)
      await retryJobs(context, { batch, kinds, failedBefore })
      // Cancelled meanwhile the batch stays so, and what failed in it has failed.
      one.isAnswered = await isOpen()
      return true
    },
    observe(before, after) {
      if (after.phase.kind !== 'failed') reopened.push(...failedOf(before))
    },
    assertKept() {
      const answered = asked.flatMap(({ retry, isAnswered }) => (isAnswered ? [retry] : []))
      assertReopenedAsAsked(reopened, { asked: asked.map(({ retry }) => retry), answered })
    },
  }
}

function failedIn(jobs: MemoryTable, batch: string): readonly FailedJob[] {
  return jobs.rows(batch).flatMap((entity) => {
    const { row } = entity
    return row.startsWith('job:') ? failedOf(readJob({ batch, key: row.slice('job:'.length) }, entity)) : []
  })
}

/** A message that was no valid job failed as well, and has nothing that could be asked for again. */
function failedOf({ batch, key, phase, request }: Job): readonly FailedJob[] {
  if (phase.kind !== 'failed' || request === null) return []
  return [{ batch, key, finishedAt: phase.finishedAt, failure: phase.failure.kind }]
}

/**
 * Now and then owners ask for what failed: for what may pass by itself, for all, or for what was refused. More fails
 * then, so that there is something to ask for; and often an instance dies while it does what they ask.
 */
export function withRetries(scenario: Scenario, chance: Chance): Scenario {
  if (chance() < 0.4) return scenario
  const { chaos, modelFaults } = scenario
  const any = <T>(choices: readonly T[]): T => choices[Math.floor(chance() * choices.length)]!
  const batches = ['batch-a', 'batch-b', 'batch-c']
  const passing = ['throttled', 'transient', 'unavailable', 'unknown'] as const
  const retries = Array.from({ length: 2 + Math.floor(chance() * 10) }, (): Action => {
    const kinds = any<readonly FailureKind[]>([passing, passing, failureKinds, ['refused'], ['unknown']])
    return { afterMs: chance() * (chaos.untilMs + 300_000), batch: any(batches), kind: 'retry', kinds }
  })
  const deaths = retries
    .filter(() => chance() < 0.5)
    .map(({ afterMs }) => ({ afterMs: afterMs + chance() * 150, kind: 'kill' as const, forMs: 0 }))
  // What is asked for again may be refused again, and pause its batch once more.
  const resumes = Array.from({ length: 10 }, (_, index) =>
    batches.map((batch): Action => ({
      afterMs: chaos.untilMs + 600_000 + index * 90_000,
      batch,
      kind: 'resume',
    })),
  )
  return {
    ...scenario,
    actions: [...scenario.actions, ...retries, ...resumes.flat()],
    attemptsMax: any([1, 2, 4]),
    onUnknown: any(['retry', 'fail']),
    modelFaults: {
      ...modelFaults,
      rates: { ...modelFaults.rates, transient: chance() * 0.3, dropped: chance() * 0.2 },
    },
    chaos: { ...chaos, accidents: [...chaos.accidents, ...deaths] },
  }
}
