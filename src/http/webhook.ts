import type { WebhookStatus } from '../pipeline/webhooks.ts'
import { seconds } from './reply.ts'

/** `webhook` of a batch: where it goes, and its newest tries, newest first. */
export function webhookBody(status: WebhookStatus | null): object | null {
  return (
    status && {
      url: status.url,
      per_job: status.perJob,
      deliveries: status.deliveries.map(({ at, eventId, type, tries, status, fault, nextAt }) => ({
        at: seconds(at),
        event: eventId,
        type,
        try: tries,
        status,
        fault,
        next_try_at: seconds(nextAt),
      })),
    }
  )
}
