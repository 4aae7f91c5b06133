import type { LineFault } from '../../../core/batches/batch-line.ts'
import type { Decision } from '../../../core/budget/fairness.ts'
import type { Delivery } from '../../../core/batches/webhook.ts'
import type { BatchStatus } from '../../../pipeline/status/status.ts'
import { windowMs } from './batch-order.ts'
import { seconds, usd } from '../../reply.ts'
import { webhookBody } from '../webhook.ts'

/** What only the batch itself shows, not a list of batches. */
export type BatchDetails = {
  readonly faults?: readonly LineFault[]
  /** Tries of its webhook. */
  readonly deliveries?: readonly Delivery[] | undefined
}

/** OpenAI's Batch object, and fields of ours beside it. What does not apply is left out, as its schema wants it. */
export function batchBody(status: BatchStatus, { faults = [], deliveries }: BatchDetails = {}): object {
  const { counts, counters, terms, order, progress } = status
  const { endpoint = '/v1/images/generations', inputFileId = '', completionWindow = '24h' } = order ?? {}
  return {
    id: status.batch,
    object: 'batch',
    endpoint,
    ...(faults.length > 0 ? { errors: { object: 'list', data: faults } } : {}),
    // A batch that was sent job by job has none.
    input_file_id: inputFileId,
    completion_window: completionWindow,
    status: status.status,
    ...timesBody(status),
    ...filesBody(status),
    request_counts: { total: counts.total, completed: counts.succeeded, failed: counts.failed },
    usage: {
      input_tokens: counters.inputTokens,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: counters.outputTokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: counters.inputTokens + counters.outputTokens,
    },
    metadata: order?.metadata ?? null,
    name: order?.name ?? null,
    output_prefix: order?.outputPrefix ?? null,
    on_unknown: order?.onUnknown ?? null,
    output_expires_after: expiryBody(order?.outputExpiresAfterMs ?? null),
    webhook: order?.webhook ? webhookBody(order.webhook, deliveries) : null,
    faults: progress?.kind === 'failed' ? progress.faults : 0,
    progress: progressBody(status),
    pool: status.pool,
    priority: terms.priority,
    paused: terms.decision?.kind === 'paused' ? decisionBody(terms.decision) : null,
    last_decision: terms.decision && { decision: terms.decision.kind, ...decisionBody(terms.decision) },
    cap_usd: usd(terms.capMicroUsd),
    cost_usd: usd(counters.spentMicroUsd),
    possible_cost_usd: usd(counters.unsureMicroUsd),
    reserved_usd: usd(counters.reservedMicroUsd),
    counts,
    images: counters.images,
    possibly_repeated_calls: counters.possiblyRepeated,
    rate_per_minute: status.ratePerMinute,
    estimated_finish_at: seconds(status.estimatedFinishAt),
    ...targetBody(status),
  }
}

/** As it was asked for. */
function expiryBody(expiresAfterMs: number | null): object | null {
  return expiresAfterMs === null ? null : { anchor: 'created_at', seconds: expiresAfterMs / 1_000 }
}

/** How many of its file's lines are jobs; their number is known when all of them were found right. */
function progressBody({ progress }: BatchStatus): object | null {
  if (progress === null || !('total' in progress)) return null
  const { total } = progress
  return { registered: progress.kind === 'registering' ? progress.registered : total, total }
}

/** When the batch came to each of its states, those it has reached. */
function timesBody({ status, createdAt, progress, counters, terms }: BatchStatus): object {
  const isCancelled = terms.decision?.kind === 'cancelled'
  const begunAt =
    progress !== null && 'validatedAt' in progress ? progress.validatedAt : counters.firstStartedAt
  const endedAt = progress?.kind === 'finished' ? progress.finishedAt : counters.lastFinishedAt
  const isFinalised = progress?.kind === 'finalizing' || progress?.kind === 'finished'
  const times = {
    created_at: createdAt,
    in_progress_at: begunAt,
    finalizing_at: isFinalised ? progress.finalizingAt : null,
    completed_at: status === 'completed' ? endedAt : null,
    failed_at: progress?.kind === 'failed' ? progress.failedAt : null,
    cancelling_at: isCancelled ? (terms.decision?.at ?? null) : null,
    cancelled_at: status === 'cancelled' ? endedAt : null,
  }
  return Object.fromEntries(
    Object.entries(times).flatMap(([name, at]) => (at === null ? [] : [[name, seconds(at)]])),
  )
}

function filesBody({ progress }: BatchStatus): object {
  if (progress?.kind !== 'finished') return {}
  const { outputFileId, errorFileId } = progress
  return {
    ...(outputFileId === null ? {} : { output_file_id: outputFileId }),
    ...(errorFileId === null ? {} : { error_file_id: errorFileId }),
  }
}

/** The window is a target: a batch that misses it goes on, and says so. */
function targetBody(status: BatchStatus): object {
  const { order, createdAt, progress, counters, estimatedFinishAt } = status
  if (order === null) return { target_at: null, on_target: null }
  const targetAt = createdAt + windowMs(order.completionWindow)
  const isOver = status.status === 'completed' || status.status === 'cancelled'
  const endAt = isOver
    ? progress?.kind === 'finished'
      ? progress.finishedAt
      : counters.lastFinishedAt
    : estimatedFinishAt
  return { target_at: seconds(targetAt), on_target: endAt === null ? null : endAt <= targetAt }
}

function decisionBody({ by, reason, at }: Decision): object {
  return { by, reason, at: seconds(at) }
}
