import { z } from 'zod'
import { limits } from '../../core/limits.ts'
import { type Call, type Reply, reply } from '../reply.ts'
import { readQuery } from '../query.ts'
import { keyOf, jobId, parseJobId } from '../../core/jobs/keys.ts'
import { listBody, noAfter } from '../list.ts'
import { jobsOfBatch } from '../../pipeline/batches/batch-jobs.ts'
import { ownBatch, noBatch } from './batch-of-path.ts'
import { jobStates, phasesOf } from './job-state.ts'
import { jobBody } from './jobs.ts'

const jobsQuery = z.strictObject({
  status: z.enum(jobStates).optional(),
  limit: z.coerce.number('a number').int().min(1).max(limits.jobsPerPageMax).default(20),
  after: z.string().max(limits.pathParameterCharsMax).optional(),
  custom_id: z.string().max(limits.customIdCharsMax).optional(),
})

/** GET /v1/batches/{name}/jobs: by their keys, or those of one status in the order in which they came to it. */
export async function getBatchJobs(call: Call): Promise<Reply> {
  const { request, context } = call
  const status = await ownBatch(call)
  if (status === undefined) return noBatch(request.params)
  const query = readQuery(request, jobsQuery)
  if (query.kind === 'refused') return query.reply
  const { batch } = status
  const { after, custom_id: customId, status: state, limit } = query.value
  if (customId !== undefined) {
    const found = await context.jobs.get({ batch, key: keyOf({ kind: 'custom-id', id: customId }) })
    const jobs = found === undefined ? [] : [found.job]
    return reply(
      200,
      listBody(
        jobs.map((job) => jobBody(request.url, job, null)),
        jobs.map(jobId),
        false,
      ),
    )
  }
  const last = after === undefined ? undefined : parseJobId(after)
  if (after !== undefined && last?.batch !== batch) return noAfter(after)
  const phases = state && phasesOf(state)
  const page = await jobsOfBatch(context, { batch, phases, after: last?.key, limit })
  if (page === undefined) return noAfter(after ?? '')
  const { jobs, hasMore } = page
  return reply(
    200,
    listBody(
      jobs.map((job) => jobBody(request.url, job, null)),
      jobs.map(jobId),
      hasMore,
    ),
  )
}
