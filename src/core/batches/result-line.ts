import type { Image, Job, Usage } from '../jobs/job.ts'
import { fingerprint } from '../fingerprint.ts'
import { jobId } from '../jobs/keys.ts'

/**
 * A finished job as a line of a batch's results. Shapes: OpenAI's BatchRequestOutput, and the answer and error of its
 * image API. `origin` is what the addresses of the images begin with. Undefined while the job is unfinished.
 */
export function resultLine(job: Job, origin: string): object | undefined {
  const { phase } = job
  const requestId = job.requestIds.at(-1) ?? ''
  const line = (response: object | null, error: object | null): object => ({
    id: `batch_req_${fingerprint(jobId(job))}`,
    custom_id: job.customId,
    response,
    error,
  })
  switch (phase.kind) {
    case 'succeeded':
      return line({ status_code: 200, request_id: requestId, body: resultBody(job, phase, origin) }, null)
    case 'failed': {
      const { kind, code, message } = phase.failure
      if (kind !== 'refused' && kind !== 'invalid') return line(null, { code, message })
      const error = { message, type: 'image_generation_user_error', param: null, code }
      return line({ status_code: 400, request_id: requestId, body: { error } }, null)
    }
    case 'cancelled':
      return line(null, cancelledError)
    case 'waiting':
    case 'slotted':
    case 'running':
      return undefined
  }
}

export type Succeeded = Extract<Job['phase'], { kind: 'succeeded' }>

/** With addresses in place of base64. */
function resultBody(job: Job, phase: Succeeded, origin: string): object {
  const data = phase.images.map((_, k) => ({ url: imageUrl(job, k, origin) }))
  return { ...imagesFacts(job, phase), data }
}

/** The image API's own answer, but for its `data`. What the request left to the model is told as far as it can be seen. */
export function imagesFacts(job: Job, { images, usage, finishedAt }: Succeeded): object {
  const [first] = images
  const { background, quality } = job.request ?? {}
  return {
    created: Math.floor(finishedAt / 1_000),
    ...(background === 'opaque' || background === 'transparent' ? { background } : {}),
    ...(first === undefined
      ? {}
      : { output_format: formatOf(first), size: `${first.width}x${first.height}` }),
    ...(quality === undefined || quality === 'auto' ? {} : { quality }),
    usage: usageBody(usage),
  }
}

/** A line of a cancelled batch that never became a job. */
export function cancelledLine(batch: string, customId: string | null): object {
  const id = `batch_req_${fingerprint(JSON.stringify([batch, customId]))}`
  return { id, custom_id: customId, response: null, error: cancelledError }
}

const cancelledError = {
  code: 'batch_cancelled',
  message: 'The batch was cancelled before this job was called.',
} as const

export function imageUrl(job: Pick<Job, 'batch' | 'key'>, k: number, origin: string): string {
  return `${origin}/v1/jobs/${jobId(job)}/images/${k}`
}

/** `png`, `jpeg` or `webp`, as the image API calls it. */
export function formatOf({ contentType }: Image): string {
  return contentType.replace('image/', '')
}

/** In the shape of the image API's own usage. */
export function usageBody(usage: Usage): object {
  return {
    total_tokens: usage.inputTokens + usage.outputTokens,
    input_tokens: usage.inputTokens,
    output_tokens: usage.outputTokens,
    input_tokens_details: { text_tokens: usage.inputTextTokens, image_tokens: usage.inputImageTokens },
  }
}
