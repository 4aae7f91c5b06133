import type { Webhook } from '../../core/batches/batch-order.ts'
import type { Delivery } from '../../core/batches/webhook.ts'
import { seconds } from '../reply.ts'

/** `webhook` of a batch: where it goes and, where they were read, its newest tries, newest first. */
export function webhookBody({ url, perJob }: Webhook, deliveries: readonly Delivery[] | undefined): object {
  return {
    url,
    per_job: perJob,
    ...(deliveries === undefined ? {} : { deliveries: deliveries.map(deliveryBody) }),
  }
}

function deliveryBody({ at, eventId, type, tries, status, fault, nextAt }: Delivery): object {
  return {
    at: seconds(at),
    event: eventId,
    type,
    try: tries,
    status,
    fault,
    next_try_at: seconds(nextAt),
  }
}
