import { z } from 'zod'
import type { Job } from '../../../core/jobs/job.ts'
import { limits } from '../../../core/limits.ts'
import { type Call, type Reply, reply } from '../../reply.ts'
import { readQuery } from '../../query.ts'
import { keyOf, jobId, parseJobId } from '../../../core/jobs/keys.ts'
import { endsOf, listBody, noAfter } from '../../list.ts'
import { jobsOfBatch } from '../../../pipeline/batches/batch-jobs.ts'
import { statusOfPath } from './batch-of-path.ts'
import { jobStates, phasesOf } from '../job-state.ts'
import { jobBody } from '../jobs.ts'

const jobsQuery = z.strictObject({
  status: z.enum(jobStates).optional(),
  limit: z.coerce.number('a number').int().min(1).max(limits.jobsPerPageMax).default(20),
  after: z.string().max(limits.pathParameterCharsMax).optional(),
  custom_id: z.string().max(limits.customIdCharsMax).optional(),
})

/** GET /v1/batches/{name}/jobs: by their keys, or those of one status in the order in which they came to it. */
export async function getBatchJobs(call: Call): Promise<Reply> {
  const { request, context } = call
  const found = await statusOfPath(call)
  if (found.kind === 'refused') return found.reply
  const query = readQuery(request, jobsQuery)
  if (query.kind === 'refused') return query.reply
  const { batch } = found.status
  const { after, custom_id: customId, status: state, limit } = query.value
  const list = (jobs: readonly Job[], hasMore: boolean): Reply => {
    const data = jobs.map((job) => jobBody(request.url, job, null))
    return reply(200, listBody(data, { ...endsOf(jobs.map(jobId)), hasMore }))
  }
  if (customId !== undefined) {
    const named = await context.jobs.get({ batch, key: keyOf({ kind: 'custom-id', id: customId }) })
    return list(named === undefined ? [] : [named.job], false)
  }
  const last = after === undefined ? undefined : parseJobId(after)
  if (after !== undefined && last?.batch !== batch) return noAfter(after)
  const phases = state && phasesOf(state)
  const page = await jobsOfBatch(context, { batch, phases, after: last?.key, limit })
  return page === undefined ? noAfter(after ?? '') : list(page.jobs, page.hasMore)
}
