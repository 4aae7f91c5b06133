import { batchNamePattern } from '../core/submission.ts'
import { batchStatus, type BatchStatus } from '../pipeline/status.ts'
import { notFound, reply, seconds, type Call, type Reply } from './reply.ts'

/** GET /v1/batches/{name} */
export async function getBatch({ request, room }: Call): Promise<Reply> {
  const { name = '' } = request.params
  const status = batchNamePattern.test(name) ? await batchStatus(room, name.slice(0, 64)) : undefined
  return status === undefined
    ? notFound(`batch ${JSON.stringify(name.slice(0, 64))}`)
    : reply(200, batchBody(status))
}

/** OpenAI's Batch object, and fields of ours beside it. A batch that was sent job by job has no input file. */
function batchBody(status: BatchStatus): object {
  const { counts, counters } = status
  return {
    id: status.batch,
    object: 'batch',
    endpoint: '/v1/images/generations',
    errors: null,
    input_file_id: '',
    completion_window: '24h',
    status: status.status,
    output_file_id: null,
    error_file_id: null,
    created_at: seconds(status.createdAt),
    in_progress_at: seconds(counters.firstStartedAt),
    completed_at: status.status === 'completed' ? seconds(counters.lastFinishedAt) : null,
    request_counts: { total: counts.total, completed: counts.succeeded, failed: counts.failed },
    usage: {
      input_tokens: counters.inputTokens,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: counters.outputTokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: counters.inputTokens + counters.outputTokens,
    },
    metadata: null,
    counts,
    images: counters.images,
    possibly_repeated_calls: counters.possiblyRepeated,
    rate_per_minute: status.ratePerMinute,
    estimated_finish_at: seconds(status.estimatedFinishAt),
  }
}
