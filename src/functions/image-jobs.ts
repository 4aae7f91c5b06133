import { app, type InvocationContext } from '@azure/functions'
import { openContext, log } from '../app.ts'
import { fingerprint } from '../core/fingerprint.ts'
import { jobId } from '../core/jobs/keys.ts'
import { takeMessage, takePoisoned, type Accepted, type JobMessage } from '../pipeline/intake/intake.ts'
import { poisonName, queueNames } from '../storage/queues.ts'

app.storageQueue('image-jobs', {
  queueName: queueNames.jobs,
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown, context) => {
    logAccepted(await takeMessage(await openContext(), toJobMessage(message, context)))
  },
})

app.storageQueue('image-jobs-poison', {
  queueName: poisonName(queueNames.jobs),
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown, context) => {
    log.event('message_poisoned', { queue: queueNames.jobs, code: 'tries_over' })
    logAccepted(await takePoisoned(await openContext(), toJobMessage(message, context)))
  },
})

/** The library has parsed what it could; the message's text is what we read. */
function toJobMessage(message: unknown, { triggerMetadata }: InvocationContext): JobMessage {
  const { id, insertionTime } = triggerMetadata ?? {}
  const insertedAt = typeof insertionTime === 'string' ? Date.parse(insertionTime) : Number.NaN
  return {
    text: typeof message === 'string' ? message : JSON.stringify(message),
    messageId: typeof id === 'string' ? id : undefined,
    insertedAt: Number.isFinite(insertedAt) ? insertedAt : undefined,
  }
}

/** A prompt is told by its length and a hash, never by its words. */
function logAccepted({ job, isNew, fault }: Accepted): void {
  const facts = { job: jobId(job), batch: job.batch, pool: job.pool }
  if (fault !== undefined) return log.event('job_rejected', { ...facts, code: fault.code })
  const { prompt = '' } = job.request ?? {}
  const hash = fingerprint(prompt).slice(0, 8)
  log.event('job_accepted', { ...facts, isNew, promptChars: prompt.length, promptHash: hash })
}
