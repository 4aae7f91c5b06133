import { app, type InvocationContext } from '@azure/functions'
import { darkroom } from '../app.ts'
import { deliverHook, putOffHook, type HookOutcome } from '../pipeline/hook-delivery.ts'
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
  handler: async (message: unknown, context) => {
    const hook = hookMessageSchema.safeParse(message)
    if (!hook.success) return context.error(`a message on ${queueNames.webhooks} is none of ours`)
    const { batch } = hook.data
    context.error(`an event of batch ${batch} could not be dealt with, each time it was tried`)
    logOutcome(context, batch, await putOffHook(await darkroom(), hook.data))
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
    case 'busy':
      return context.debug(`webhook of batch ${batch}: its receiver has its hands full`)
    case 'dropped':
      return context.info(`webhook of batch ${batch}: nothing to tell: ${outcome.why}`)
  }
}
