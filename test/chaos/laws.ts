import { expect } from 'vitest'
import { attemptsAllowed, type FailureKind } from '../../src/core/jobs/failure.ts'
import type { Job, Usage } from '../../src/core/jobs/job.ts'
import { jobId } from '../../src/core/jobs/keys.ts'
import type { ReceivedRequest } from '../../src/local/deployment/log.ts'
import { defaultSettings } from '../../src/local/deployment/settings.ts'
import { usageOf } from '../../src/local/deployment/tokens.ts'
import type { JobRef } from '../../src/ports/jobs.ts'
import { readJob } from '../../src/storage/tables/job-rows.ts'
import type { Entity } from '../../src/storage/tables/table.ts'
import {
  assertAllFinished,
  assertCountedOnce,
  assertNeverFasterThan,
  assertRepeatsAreLabelled,
  assertRowsAgree,
  type PaidCall,
} from '../support/laws.ts'
import { jobsOf } from './messages.ts'
import { processesLeft } from './processes-left.ts'
import type { Records } from './records.ts'

/** What must be true of every run: the name says it, and what is thrown says where it is not. */
export const laws: readonly (readonly [string, (records: Records) => void])[] = [
  ['all came to rest in time', assertAtRest],
  ['every job sent is there once, in one final state', assertEveryJobIsFinal],
  ['no job has a row of an unfinished one', assertNoIndexRowIsLeft],
  ['the counts of every batch are those of its records', assertCountsAgree],
  ['counts never contradicted themselves on the way', assertNoContradiction],
  ['every result is that of one call, counted once', assertResultsAreOfOneCall],
  ['every picture is there as it was made', assertPicturesAreThere],
  ['every failure is that of its last call, or of a message', assertFailuresHaveACause],
  ['every call was counted as an attempt', assertCallsWereCounted],
  ['no call after a stored answer, and every repeat that was paid for is labelled', assertRepeatsAreKnown],
  ['the result files tell of every job of the submitted batch, once', assertResultFilesAreWhole],
  ['the deployment was never asked faster than its limit', assertPaceWasKept],
  ['nothing is left on a poison queue', assertNothingIsPoisoned],
  ['no host ended by itself', assertNobodyCrashed],
]

function assertAtRest({ isAtRest }: Records): void {
  expect(isAtRest, 'every job final and every message gone').toBe(true)
}

function assertEveryJobIsFinal({ sent, rows }: Records): void {
  const all = new Set([...rows].flatMap(([batch, entities]) => jobsIn(batch, entities).map(jobId)))
  const wanted = Map.groupBy(
    jobsOf(sent, (job) => all.has(jobId(job))),
    ({ batch }) => batch,
  )
  const names = new Set([...wanted.values()].flat().map(jobId))
  assertNone(
    [...names].filter((name) => !all.has(name)),
    'jobs that are not there',
  )
  assertNone(
    [...all].filter((name) => !names.has(name)),
    'jobs that nobody sent',
  )
  for (const [batch, refs] of wanted) {
    const keys = refs.map(({ key }) => key)
    assertAllFinished(batch, rows.get(batch) ?? [], keys)
  }
}

function assertNoIndexRowIsLeft({ rows }: Records): void {
  const left = [...rows].flatMap(([batch, entities]) =>
    entities.filter(({ row }) => /^(?:wait|slot|run):/.test(row)).map(({ row }) => `${batch} ${row}`),
  )
  assertNone(left, 'index rows of unfinished jobs')
}

function assertCountsAgree({ rows, counts }: Records): void {
  expect([...counts.keys()].sort(), 'batches').toEqual([...rows.keys()].sort())
  for (const [batch, entities] of rows) {
    const { jobs } = assertRowsAgree(batch, entities)
    const has = (kind: string): number => jobs.filter(({ phase }) => phase.kind === kind).length
    expect(counts.get(batch), `GET /v1/batches/${batch}`).toEqual({
      total: jobs.length,
      waiting: has('waiting') + has('slotted'),
      running: has('running'),
      succeeded: has('succeeded'),
      failed: has('failed'),
      cancelled: has('cancelled'),
    })
  }
}

function assertNoContradiction({ contradictions }: Records): void {
  assertNone(contradictions, 'polls')
}

function assertResultsAreOfOneCall(records: Records): void {
  const calls = paidCalls(records)
  const callsOf = (job: JobRef): readonly PaidCall[] => calls.get(jobId(job)) ?? []
  for (const [batch, rows] of records.rows) {
    const content = assertRowsAgree(batch, rows)
    assertCountedOnce(content, callsOf)
    for (const job of content.jobs) {
      if (job.phase.kind !== 'succeeded') continue
      const shas = job.phase.images.map(({ sha256 }) => sha256)
      const call = callsOf(job).find(({ sha256 }) => sha256.join() === shas.join())
      expect(job.requestIds, `request ids of ${jobId(job)}`).toContain(call?.id)
    }
  }
}

function assertPicturesAreThere(records: Records): void {
  for (const job of allJobs(records)) {
    if (job.phase.kind !== 'succeeded') continue
    for (const { blob, sha256 } of job.phase.images) {
      expect(records.pictures.get(blob)?.sha256, `picture ${blob} of ${jobId(job)}`).toBe(sha256)
    }
  }
}

/** What the last call must have come to when a job has failed in this way. */
const outcomesOf: Readonly<Record<FailureKind, readonly string[]>> = {
  refused: ['moderation_blocked', 'content_policy_violation', 'contentFilter', 'contentFilterOutput'],
  invalid: ['invalid'],
  transient: ['server_error', 'unavailable'],
  unknown: ['timeout', 'dropped', 'truncated', 'short', 'garbage', 'abandoned', 'succeeded'],
  // These two never end a job.
  throttled: [],
  unavailable: [],
}

/** What the hosts are started with. */
const attemptsMax = 5

function assertFailuresHaveACause(records: Records): void {
  const requests = requestsByPrompt(records)
  for (const job of allJobs(records)) {
    if (job.phase.kind !== 'failed') continue
    const { kind, code, message } = job.phase.failure
    const what = `${jobId(job)} (${kind}, ${code}: ${message})`
    if (job.request === null) {
      expect(kind, what).toBe('invalid')
      continue
    }
    const isGivenUp = kind === 'transient' || kind === 'unknown'
    if (isGivenUp) {
      expect(job.attempts, `attempts of ${what}`).toBeGreaterThanOrEqual(attemptsAllowed(code, attemptsMax))
    }
    // Its last host may have died before its call was heard of.
    if (code === 'instance_died') continue
    const last = requests.get(job.request.prompt)?.at(-1)
    expect(outcomesOf[kind], `the last call of ${what}`).toContain(last?.outcome)
  }
}

/** Answers that say that the request was not worked on. */
const untaken = new Set<ReceivedRequest['status']>([401, 403, 404, 429])

function assertCallsWereCounted(records: Records): void {
  const requests = requestsByPrompt(records)
  const jobs = allJobs(records)
  const prompts = new Set(jobs.map(({ request }) => request?.prompt))
  const strangers = [...requests.keys()].filter((prompt) => !prompts.has(prompt))
  assertNone(strangers, 'called prompts of no job')
  for (const job of jobs) {
    const called = (requests.get(job.request?.prompt ?? '') ?? []).filter(
      ({ status }) => !untaken.has(status),
    )
    expect(job.attempts, `attempts of ${jobId(job)}`).toBeGreaterThanOrEqual(called.length)
  }
}

function assertRepeatsAreKnown(records: Records): void {
  const calls = paidCalls(records)
  for (const job of allJobs(records)) assertRepeatsAreLabelled(job, calls.get(jobId(job)) ?? [])
}

function assertResultFilesAreWhole({ rows, submitted, results }: Records): void {
  const jobs = jobsIn(submitted, rows.get(submitted) ?? [])
  const named = (isWanted: (job: Job) => boolean): readonly string[] =>
    jobs
      .filter(isWanted)
      .map(({ customId }) => customId ?? '')
      .sort()
  expect([...(results?.output ?? [])].sort(), 'its output file').toEqual(
    named(({ phase }) => phase.kind === 'succeeded'),
  )
  expect([...(results?.errors ?? [])].sort(), 'its error file').toEqual(
    named(({ phase }) => phase.kind !== 'succeeded'),
  )
}

/** Refusals that were ordered (`capacity`) are no sign of haste; `throttled` is. */
function assertPaceWasKept({ log, rpm }: Records): void {
  assertNeverFasterThan(
    log.map(({ receivedAt }) => receivedAt),
    { rpm },
  )
  expect(log.filter(({ outcome }) => outcome === 'throttled').length, '429s of the rate').toBe(0)
}

function assertNothingIsPoisoned({ poisoned }: Records): void {
  const left = [...poisoned].filter(([, count]) => count > 0)
  assertNone(
    left.map(([queue, count]) => `${count} on ${queue}`),
    'messages',
  )
}

function assertNobodyCrashed({ crashes }: Records): void {
  assertNone(crashes, 'hosts')
}

/** The last law: to be asked when everything was stopped. */
export function assertNoProcessIsLeft(pids: readonly number[]): void {
  assertNone(processesLeft(pids).map(String), 'process groups')
}

/** What there must be none of, by name, as far as a person wants to read. */
function assertNone(found: readonly string[], what: string): void {
  if (found.length === 0) return
  const more = found.length > namedMax ? ` and ${found.length - namedMax} more` : ''
  throw new Error(`${what}: ${found.slice(0, namedMax).join(', ')}${more}; wanted none`)
}

const namedMax = 10

/** Every call as the laws want it; what the deployment may charge for without its answer being known is `lost`. */
export function paidCalls(records: Records): ReadonlyMap<string, readonly PaidCall[]> {
  const requests = requestsByPrompt(records)
  return new Map(
    allJobs(records).map((job) => {
      const calls = (requests.get(job.request?.prompt ?? '') ?? []).map((request): PaidCall => {
        const { requestId: id, receivedAt, outcome, billed, sha256 } = request
        const answer = outcome === 'succeeded' ? 'images' : billed ? 'lost' : 'error'
        const storedAt = storedAtOf(records, job, sha256)
        const usage = usageOfCall(job, request)
        return { job, id, startedAt: receivedAt, claimedAt: receivedAt, answer, storedAt, usage, sha256 }
      })
      return [jobId(job), calls]
    }),
  )
}

/** The store tells whole seconds: the end of the last one. */
function storedAtOf({ pictures }: Records, { phase }: Job, sha256: readonly string[]): number | undefined {
  const blobs = phase.kind === 'succeeded' ? phase.images.map(({ blob }) => pictures.get(blob)) : []
  const isOfCall = sha256.length > 0 && blobs.map((blob) => blob?.sha256).join() === sha256.join()
  return isOfCall ? Math.max(...blobs.map((blob) => blob?.storedAt ?? 0)) + 1_000 : undefined
}

/** By the deployment's tariff, if what it logged agrees. */
function usageOfCall({ request }: Job, { totalTokens }: ReceivedRequest): Usage {
  const { prompt = '', size = '', n = 1, quality = '' } = request ?? {}
  const [width = 0, height = 0] = size.split('x').map(Number)
  const usage = usageOf({ model: defaultSettings.model, prompt, n, width, height, quality })
  const isLogged = usage.total_tokens === totalTokens
  return {
    inputTokens: isLogged ? usage.input_tokens : 0,
    outputTokens: isLogged ? usage.output_tokens : 0,
    inputTextTokens: isLogged ? usage.input_tokens_details.text_tokens : 0,
    inputImageTokens: isLogged ? usage.input_tokens_details.image_tokens : 0,
  }
}

/** In the order of arrival. Of a request whose caller died while sending it no prompt is known: nothing came of it. */
function requestsByPrompt({ log }: Records): ReadonlyMap<string, readonly ReceivedRequest[]> {
  const known = log.flatMap((request) =>
    request.prompt === null ? [] : [{ prompt: request.prompt, request }],
  )
  const groups = Map.groupBy(known, ({ prompt }) => prompt)
  return new Map([...groups].map(([prompt, all]) => [prompt, all.map(({ request }) => request)]))
}

export function allJobs({ rows }: Pick<Records, 'rows'>): readonly Job[] {
  return [...rows].flatMap(([batch, entities]) => jobsIn(batch, entities))
}

function jobsIn(batch: string, entities: readonly Entity[]): Job[] {
  return entities
    .filter(({ row }) => row.startsWith('job:'))
    .map((entity) => readJob({ batch, key: entity.row.slice('job:'.length) }, entity))
}
