import { app } from '@azure/functions'
import { openContext, log } from '../app.ts'
import { deliverHook, putOffHook, type HookOutcome } from '../pipeline/webhooks/hook-delivery.ts'
import { hookMessageSchema, poisonName, queueNames } from '../storage/queues.ts'

app.storageQueue('webhooks', {
  queueName: queueNames.webhooks,
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown) => {
    const hook = hookMessageSchema.parse(message)
    logOutcome(hook.batch, await deliverHook(await openContext(), hook))
  },
})

app.storageQueue('webhooks-poison', {
  queueName: poisonName(queueNames.webhooks),
  connection: 'AzureWebJobsStorage',
  handler: async (message: unknown) => {
    const hook = hookMessageSchema.safeParse(message)
    const queue = queueNames.webhooks
    if (!hook.success) return log.event('message_poisoned', { queue, code: 'unreadable' })
    const { batch } = hook.data
    log.event('message_poisoned', { queue, code: 'tries_over', batch })
    logOutcome(batch, await putOffHook(await openContext(), hook.data))
  },
})

/** Addresses are not logged, nor what stands there: some hold a secret of their receiver's. */
function logOutcome(batch: string, outcome: HookOutcome): void {
  switch (outcome.kind) {
    case 'delivered':
    case 'again':
      return log.event('webhook', { batch, eventId: outcome.eventId, outcome: outcome.kind })
    case 'given-up':
      return log.event('webhook_given_up', { batch, eventId: outcome.eventId })
    case 'dropped':
      return log.event('webhook', { batch, outcome: 'dropped' })
    // Looked at again soon.
    case 'unfinished':
    case 'busy':
      return undefined
  }
}
