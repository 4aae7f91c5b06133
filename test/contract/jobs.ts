import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { claimed } from '../../src/core/jobs/transitions.ts'
import { newJob, type Job, type Order } from '../../src/core/jobs/job.ts'
import { chanceFrom } from '../../src/local/deployment/chance.ts'
import type { Clock } from '../../src/ports/clock.ts'
import type { JobSnapshot, JobTable, SlotGrant } from '../../src/ports/jobs.ts'
import { jobTable } from '../../src/storage/tables/job-table.ts'
import type { Table } from '../../src/storage/tables/table.ts'
import { assertRowsAgree, type BatchContent } from '../support/laws.ts'

/** What the contracts of the job table share. */

export const now = Date.UTC(2026, 0, 5, 12)

export const usage = { inputTokens: 50, outputTokens: 4_160, inputTextTokens: 50, inputImageTokens: 0 }

export const image = {
  blob: 'a',
  contentType: 'image/png',
  sizeBytes: 1,
  width: 1,
  height: 1,
  sha256: 'x',
}

/** Waits as the present does. */
const clock: Clock = {
  now: Date.now,
  sleepUntil: async (at, signal) =>
    sleep(Math.max(0, at - Date.now()), undefined, signal === undefined ? {} : { signal }).catch(() => {}),
}

let ids = 0

/** One instance's job table over the rows that all share; the words say by which chance it settles on counters. */
export function jobsOn(table: Table, ...words: string[]): JobTable {
  return jobTable(table, {
    chance: chanceFrom('job table', ...words),
    newId: () => `change-${(ids += 1)}`,
    clock,
  })
}

/** One that settles on this row of counters. */
export function jobsOnShard(table: Table, shard: number, shards: number): JobTable {
  return jobTable(table, { chance: () => shard / shards, newId: () => `shard-${shard}-${(ids += 1)}`, clock })
}

export function jobOf(batch: string, key: string, fields: Partial<Order> & { at?: number } = {}): Job {
  const { at = now, priority = null, upperMicroUsd = 10_000 } = fields
  const request = fields.request ?? { prompt: `a picture of ${key}`, n: 2, size: '1024x1024' }
  const names = { batch, key, pool: 'pool', customId: key, metadata: { shop: 'x' } }
  return newJob({ ...names, request, priority, upperMicroUsd, now: at })
}

export function grantOf(job: Job, slotAt = now + 5_000.125): SlotGrant {
  const { batch, key, priority, upperMicroUsd } = job
  const dueAt = job.phase.kind === 'waiting' ? job.phase.dueAt : job.createdAt
  return { batch, key, dueAt, priority, upperMicroUsd, slotAt, quota: 'east', deployment: 'gpt-image-1' }
}

/** The rows of the batch, which must agree: records, index rows, counters, and what they say of money. */
export async function contentIn(table: Table, batch: string): Promise<BatchContent> {
  const rows = await table.range({ partition: batch, from: ' ', before: '~~', limit: 5_000 })
  const content = assertRowsAgree(batch, rows)
  const { spentMicroUsd, unsureMicroUsd, reservedMicroUsd } = content.counters
  expect({ spentMicroUsd, unsureMicroUsd, reservedMicroUsd }, `money of batch ${batch}`).toEqual(
    moneyOf(content.jobs),
  )
  return content
}

export async function makeRunning(jobs: JobTable, job: Job): Promise<JobSnapshot> {
  await jobs.add(job)
  await jobs.slot({ grants: [grantOf(job)], capMicroUsd: null })
  const slotted = (await jobs.get(job))!
  const claim = claimed(slotted.job, { slotAt: now, deployment: 'gpt-image-1', leaseUntil: now + 90_000 })!
  return (await jobs.change(slotted, claim))!
}

/** What the records say was spent, may have been, and is about to be. */
function moneyOf(jobs: readonly Job[]): {
  readonly spentMicroUsd: number
  readonly unsureMicroUsd: number
  readonly reservedMicroUsd: number
} {
  const total = (pick: (job: Job) => number): number => jobs.reduce((sum, job) => sum + pick(job), 0)
  return {
    spentMicroUsd: total(({ phase }) => (phase.kind === 'succeeded' ? phase.costMicroUsd : 0)),
    unsureMicroUsd: total((job) => job.unsureMicroUsd),
    reservedMicroUsd: total(({ phase, upperMicroUsd }) =>
      phase.kind === 'running' || (phase.kind === 'slotted' && phase.isReserved) ? upperMicroUsd : 0,
    ),
  }
}
