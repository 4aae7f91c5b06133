import type { ExpectedCost } from '../../core/costs/cost.ts'
import { jobCounts } from '../../core/jobs/counters.ts'
import { callMsUnseen, estimateStartAt, outlook } from '../../core/budget/estimate.ts'
import { readJson } from '../../core/json.ts'
import { localCaller, type Caller } from '../../core/caller.ts'
import { isHalted } from '../../core/budget/fairness.ts'
import { limits } from '../../core/limits.ts'
import type { Submission } from '../../core/requests/submission.ts'
import type { SubmissionFault } from '../../core/requests/submission-fault.ts'
import { costsOf, type Context } from '../context.ts'
import { linesOf } from '../lines.ts'
import { mayReach } from '../intake/owners.ts'
import { flowOf, viewPool } from '../pacing/pool-view.ts'

/** What jobs would come to, before anything is spent. */
export type Forecast = Omit<ExpectedCost, 'microUsd'> & {
  readonly jobs: number
  /** The best guess, and the most it can be. */
  readonly costMicroUsd: number
  readonly upperMicroUsd: number
  /** Null when nothing starts until a person acts. */
  readonly startAt: number | null
  readonly finishAt: number | null
  readonly prices: readonly { readonly model: string; readonly asOf: string; readonly source: string }[]
}

export type Forecasted =
  | { readonly kind: 'forecast'; readonly forecast: Forecast }
  | { readonly kind: 'invalid'; readonly fault: SubmissionFault }

/**
 * One job as JSON, or many, a line each: read and checked as they would be if they were sent. `breathe` lets others on
 * now and then. A batch that is none of the caller's is as one that does not exist yet.
 */
export async function forecast(
  context: Context,
  text: string,
  breathe: () => Promise<unknown> = async () => undefined,
  caller: Caller = localCaller,
): Promise<Forecasted> {
  const submissions: Submission[] = []
  for (const [index, line] of (await jobsIn(text)).entries()) {
    if (index >= limits.estimateLinesMax) {
      const message = `more than ${limits.estimateLinesMax} lines; estimate a part of them`
      return { kind: 'invalid', fault: { param: null, code: 'too_many_tasks', message } }
    }
    const parsed = context.parse(line.text)
    if (parsed.kind === 'invalid') {
      const { fault } = parsed
      const message = line.number === null ? fault.message : `line ${line.number}: ${fault.message}`
      return { kind: 'invalid', fault: { ...fault, message } }
    }
    submissions.push(parsed.submission)
    // Jobs that are held on this instance must not miss their slots.
    if (index % linesAtOnce === linesAtOnce - 1) await breathe()
  }
  return { kind: 'forecast', forecast: await forecastOf(context, submissions, caller) }
}

/** Read within some milliseconds. */
const linesAtOnce = 100

type Numbered = { readonly text: string; readonly number: number | null }

/** A job may be written over several lines: what is JSON as a whole is one job. */
async function jobsIn(text: string): Promise<readonly Numbered[]> {
  const lines: Numbered[] = []
  const bytes = new TextEncoder().encode(text)
  for await (const line of linesOf(once(bytes), { lineBytesMax: bytes.length })) {
    lines.push({ text: line.text ?? '', number: line.number })
  }
  const isOneALine = lines.length > 1 && readJson(text).kind === 'unreadable'
  return isOneALine ? lines : [{ text, number: null }]
}

async function* once<T>(item: T): AsyncIterable<T> {
  yield item
}

async function forecastOf(
  context: Context,
  submissions: readonly Submission[],
  caller: Caller,
): Promise<Forecast> {
  const total = { images: 0, inputTokens: 0, outputTokens: 0, costMicroUsd: 0, upperMicroUsd: 0 }
  const prices: Forecast['prices'][number][] = []
  const starts: (number | null)[] = []
  const finishes: (number | null)[] = []
  for (const [pool, asked] of Map.groupBy(submissions, (submission) => submission.pool)) {
    const costs = costsOf(context, pool)
    for (const { request } of asked) {
      const { images, inputTokens, outputTokens, microUsd } = costs.expected(request)
      total.images += images
      total.inputTokens += inputTokens
      total.outputTokens += outputTokens
      total.costMicroUsd += microUsd
      total.upperMicroUsd += costs.upperMicroUsd(request)
    }
    prices.push(costs.prices)
    const { startAt, finishAt } = await timesOf(context, { pool, asked, caller })
    starts.push(startAt)
    finishes.push(finishAt)
  }
  return {
    jobs: submissions.length,
    ...total,
    startAt: starts.includes(null) ? null : Math.min(...starts.map(Number)),
    finishAt: finishes.includes(null) ? null : Math.max(...finishes.map(Number)),
    prices,
  }
}

/** As a batch of their own beside those that wait, or behind what waits in theirs. */
async function timesOf(
  context: Context,
  { pool, asked, caller }: { pool: string; asked: readonly Submission[]; caller: Caller },
): Promise<{ readonly startAt: number | null; readonly finishAt: number | null }> {
  const [first] = asked
  const named = first?.batch ?? ''
  const batch = (await mayReach(context, caller, named)) ? named : ''
  const priority = first?.priority ?? null
  const [view, flow, stored] = await Promise.all([
    viewPool(context, pool),
    flowOf(context, { pool, batch }, { owner: caller.key }),
    context.batches.getBatch(batch),
  ])
  const expected = isHalted(flow) ? undefined : outlook(view, batch, context.clock.now())
  if (expected === undefined) return { startAt: null, finishAt: null }
  const waiting = stored === undefined ? 0 : jobCounts(stored.counters).waiting
  const startAt = estimateStartAt(expected, { flow, priority, before: waiting })
  const before = waiting + asked.length - 1
  const lastAt = estimateStartAt(expected, { flow, priority, before })
  return { startAt, finishAt: lastAt + callMsUnseen }
}
