import { app } from '@azure/functions'
import { openContext, log } from '../app.ts'
import { retryJobs } from '../pipeline/batches/batch-jobs.ts'
import { finaliseBatch } from '../pipeline/batches/finalise.ts'
import { registerBatch } from '../pipeline/batches/register.ts'
import { batchTaskSchema, poisonName, queueNames } from '../storage/queues.ts'

app.storageQueue('batch-work', {
  queueName: queueNames.batches,
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown) => {
    const context = await openContext()
    const task = batchTaskSchema.parse(message)
    const { batch } = task
    switch (task.task) {
      case 'register':
        return registerBatch(context, batch)
      case 'finalise':
        await finaliseBatch(context, batch)
        return
      case 'retry': {
        const { retried } = await retryJobs(context, task)
        return log.event('jobs_retried', { batch, jobs: retried })
      }
    }
  },
})

app.storageQueue('batch-work-poison', {
  queueName: poisonName(queueNames.batches),
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown) => {
    const task = batchTaskSchema.safeParse(message)
    const queue = queueNames.batches
    if (!task.success) return log.event('message_poisoned', { queue, code: 'unreadable' })
    const { task: doing, batch } = task.data
    log.event('message_poisoned', { queue, code: 'tries_over', doing, batch })
    const context = await openContext()
    await context.messages.sendBatchTask(task.data, context.clock.now() + 3_600_000)
  },
})
