import { app, type InvocationContext } from '@azure/functions'
import { darkroom } from '../app.ts'
import { deliverHook, type HookOutcome } from '../pipeline/hook-delivery.ts'
import { hookMessageSchema, poisonName, queueNames } from '../storage/queues.ts'

app.storageQueue('webhooks', {
  queueName: queueNames.webhooks,
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown, context) => {
    const hook = hookMessageSchema.parse(message)
    logOutcome(context, hook.batch, await deliverHook(await darkroom(), hook))
  },
})

app.storageQueue('webhooks-poison', {
  queueName: poisonName(queueNames.webhooks),
  connection: 'AzureWebJobsStorage',
  handler: (message: unknown, context) => {
    const hook = hookMessageSchema.safeParse(message)
    const what = hook.success ? `an event of batch ${hook.data.batch}` : 'a message that is none of ours'
    context.error(`${what} on ${queueNames.webhooks} could not be dealt with, each time it was tried`)
  },
})

/** Addresses are not logged: some hold a secret of their receiver's. */
function logOutcome(context: InvocationContext, batch: string, outcome: HookOutcome): void {
  switch (outcome.kind) {
    case 'delivered':
      return context.info(`webhook of batch ${batch}: ${outcome.eventId} delivered`)
    case 'again':
      return context.warn(`webhook of batch ${batch}: ${outcome.eventId} is tried again: ${outcome.answer}`)
    case 'given-up':
      return context.error(`webhook of batch ${batch}: ${outcome.eventId} given up: ${outcome.answer}`)
    case 'unfinished':
      return context.debug(`webhook of batch ${batch}: its job is not finished yet`)
    case 'dropped':
      return context.info(`webhook of batch ${batch}: nothing to tell: ${outcome.why}`)
  }
}
