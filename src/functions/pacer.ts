import { app } from '@azure/functions'
import { openContext, log } from '../app.ts'
import { nudge } from '../pipeline/pacing/announce.ts'
import { runTick } from '../pipeline/pacing/pacer.ts'
import { poisonName, queueNames, tickMessageSchema } from '../storage/queues.ts'

app.storageQueue('pacer', {
  queueName: queueNames.pacer,
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown) => {
    await runTick(await openContext(), tickMessageSchema.parse(message))
  },
})

app.storageQueue('pacer-poison', {
  queueName: poisonName(queueNames.pacer),
  connection: 'AzureWebJobsStorage',
  handler: async () => {
    log.event('message_poisoned', { queue: queueNames.pacer, code: 'tries_over' })
    const context = await openContext()
    await Promise.all(context.pools.map(async ({ name }) => nudge(context, name)))
  },
})
