import { app } from '@azure/functions'
import { openContext, openContextForCalls, log } from '../app.ts'
import { jobId } from '../core/jobs/keys.ts'
import { takePoisoned } from '../pipeline/intake/intake.ts'
import { giveUpSlot, runJob } from '../pipeline/running/worker.ts'
import { poisonName, queueNames, workMessageSchema } from '../storage/queues.ts'

app.storageQueue('image-work', {
  queueName: queueNames.work,
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown) => {
    const work = workMessageSchema.parse(message)
    await runJob(await openContextForCalls(), work)
  },
})

app.storageQueue('image-work-poison', {
  queueName: poisonName(queueNames.work),
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown) => {
    const context = await openContext()
    const work = workMessageSchema.safeParse(message)
    const queue = queueNames.work
    if (work.success) {
      // Its job waits again.
      log.event('message_poisoned', { queue, code: 'tries_over', job: jobId(work.data) })
      return giveUpSlot(context, work.data)
    }
    const text = typeof message === 'string' ? message : JSON.stringify(message)
    const { job } = await takePoisoned(context, { text, messageId: undefined, insertedAt: undefined })
    log.event('message_poisoned', { queue, code: 'unreadable', job: jobId(job) })
  },
})
