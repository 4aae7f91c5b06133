import { app } from '@azure/functions'
import { darkroom } from '../app.ts'
import { nudge } from '../pipeline/announce.ts'
import { runTick } from '../pipeline/pacer.ts'
import { poisonName, queueNames, tickMessageSchema } from '../storage/queues.ts'

app.storageQueue('pacer', {
  queueName: queueNames.pacer,
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown, context) => {
    const result = await runTick(await darkroom(), tickMessageSchema.parse(message))
    context.debug(`tick ${result}`)
  },
})

app.storageQueue('pacer-poison', {
  queueName: poisonName(queueNames.pacer),
  connection: 'AzureWebJobsStorage',
  handler: async (_message: unknown, context) => {
    context.error('a tick could not be run, each time it was tried; the pacer is woken')
    const room = await darkroom()
    await Promise.all(room.pools.map(async ({ name }) => nudge(room, name)))
  },
})
