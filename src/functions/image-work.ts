import { app, type InvocationContext } from '@azure/functions'
import { darkroom } from '../app.ts'
import { jobId } from '../core/keys.ts'
import { takePoisoned } from '../pipeline/intake.ts'
import type { RunOutcome } from '../pipeline/run-end.ts'
import { giveUpSlot, runJob } from '../pipeline/worker.ts'
import type { WorkMessage } from '../ports.ts'
import { poisonName, queueNames, workMessageSchema } from '../storage/queues.ts'

app.storageQueue('image-work', {
  queueName: queueNames.work,
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown, context) => {
    const work = workMessageSchema.parse(message)
    logOutcome(context, work, await runJob(await darkroom(), work))
  },
})

app.storageQueue('image-work-poison', {
  queueName: poisonName(queueNames.work),
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown, context) => {
    const room = await darkroom()
    const work = workMessageSchema.safeParse(message)
    if (work.success) {
      context.error(
        `job ${jobId(work.data)} could not be run at its slot, each time it was tried; it waits again`,
      )
      await giveUpSlot(room, work.data)
      return
    }
    const text = typeof message === 'string' ? message : JSON.stringify(message)
    const { job } = await takePoisoned(room, { text, messageId: undefined, insertedAt: undefined })
    context.error(`a message on ${queueNames.work} is none of ours; kept as job ${jobId(job)}`)
  },
})

function logOutcome(context: InvocationContext, work: WorkMessage, outcome: RunOutcome): void {
  const id = jobId(work)
  switch (outcome.kind) {
    case 'succeeded':
      return context.info(`job ${id} succeeded with ${outcome.images} image(s)`)
    case 'failed':
      return context.warn(`job ${id} failed: ${outcome.code}`)
    case 'retried':
      return context.warn(`job ${id} is tried again: ${outcome.code}`)
    case 'snoozed':
      return context.info(`job ${id} waits again: ${outcome.why}`)
    case 'given-up':
      return context.warn(`job ${id} is cancelled: nobody waits for its answer any more`)
    case 'stale':
    case 'too-late':
      return context.info(`job ${id}: nothing to do (${outcome.kind})`)
  }
}
