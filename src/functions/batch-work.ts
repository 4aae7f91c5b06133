import { app } from '@azure/functions'
import { darkroom } from '../app.ts'
import { retryJobs } from '../pipeline/batch-jobs.ts'
import { finaliseBatch } from '../pipeline/finalise.ts'
import { registerBatch } from '../pipeline/register.ts'
import { batchTaskSchema, poisonName, queueNames } from '../storage/queues.ts'

app.storageQueue('batch-work', {
  queueName: queueNames.batches,
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown, context) => {
    const room = await darkroom()
    const task = batchTaskSchema.parse(message)
    switch (task.task) {
      case 'register':
        await registerBatch(room, task.batch)
        return context.info(`batch ${task.batch}: its file was gone through`)
      case 'finalise':
        return context.debug(`batch ${task.batch}: ${await finaliseBatch(room, task.batch)}`)
      case 'retry': {
        const { retried } = await retryJobs(room, task)
        return context.info(`batch ${task.batch}: ${retried} failed jobs wait again`)
      }
    }
  },
})

app.storageQueue('batch-work-poison', {
  queueName: poisonName(queueNames.batches),
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown, context) => {
    const task = batchTaskSchema.safeParse(message)
    if (!task.success) return context.error(`a message on ${queueNames.batches} is none of ours`)
    context.error(
      `batch ${task.data.batch}: ${task.data.task} failed each time it was tried; tried again in an hour`,
    )
    const room = await darkroom()
    await room.messages.sendBatchTask(task.data, room.clock.now() + 3_600_000)
  },
})
