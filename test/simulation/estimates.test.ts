import { expect, test } from 'vitest'
import { jobCounts } from '../../src/core/jobs/counters.ts'
import { isFinal, type Job } from '../../src/core/jobs/job.ts'
import { batchStatus, type BatchStatus } from '../../src/pipeline/status/status.ts'
import { batchOf, fairWeather } from './scenarios.ts'
import { simulate, type Action, type Run } from './world.ts'

type Polled = { readonly at: number; readonly status: BatchStatus }

/** Batches of different size and priority that share a pool from the start, polled every 20 s. */
async function polledRun(): Promise<{ readonly run: Run; readonly polled: readonly Polled[] }> {
  const polled: Polled[] = []
  const batches = ['large', 'small', 'urgent']
  const priorities: Action[] = [{ afterMs: 0, batch: 'urgent', kind: 'change', priority: 'high' }]
  const run = await simulate(
    fairWeather('estimates', {
      rpm: 60,
      instances: 2,
      actions: priorities,
      submissions: [
        ...batchOf('large', 500, 500),
        ...batchOf('small', 100, 500),
        ...batchOf('urgent', 200, 500),
      ],
      watch: {
        everyMs: 20_000,
        async look(context) {
          for (const batch of batches) {
            const status = await batchStatus(context, batch)
            if (status !== undefined) polled.push({ at: context.clock.now(), status })
          }
        },
      },
    }),
  )
  return { run, polled }
}

test('after the first 5 % of a batch its estimated end is within 10 % of the truth', async () => {
  const { run, polled } = await polledRun()
  for (const batch of ['large', 'small', 'urgent']) {
    const endedAt = Math.max(...run.jobs.filter((job) => job.batch === batch).map(finishedAt))
    const polls = polled.filter(({ status: { batch: name, counts, counters } }) => {
      const share = counts.succeeded / jobCounts(counters).total
      return name === batch && share >= 0.05 && counts.waiting > 0
    })
    expect(polls.length, `polls of ${batch}`).toBeGreaterThan(5)
    for (const { at, status } of polls) {
      const wrongByMs = Math.abs((status.estimatedFinishAt ?? 0) - endedAt)
      expect(
        wrongByMs / (endedAt - run.startedAt),
        `${batch}: with ${status.counts.waiting} waiting, off by ${wrongByMs / 1_000} s, ${(endedAt - at) / 1_000} s before its end`,
      ).toBeLessThan(0.1)
    }
  }
})

function finishedAt(job: Job): number {
  if (!isFinal(job) || !('finishedAt' in job.phase)) throw new Error(`job ${job.key} is not finished`)
  return job.phase.finishedAt
}
