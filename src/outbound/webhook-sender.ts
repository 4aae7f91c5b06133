import { Webhook } from 'standardwebhooks'
import type { Destinations } from '../core/destination.ts'
import { limits } from '../core/limits.ts'
import { readRetryAfterMs } from '../core/retry-after.ts'
import { webhookUrlFault, type WebhookAnswer } from '../core/batches/webhook.ts'
import type { Clock } from '../ports/clock.ts'
import type { WebhookSender } from '../ports/webhooks.ts'
import type { WebhookSettings } from '../settings.ts'
import { guardedFetch, type Resolve } from './guarded-fetch.ts'

export type ClosableSender = WebhookSender & { close(): Promise<void> }

/**
 * Signs events as the Standard Webhooks specification says, and sends each once: trying again is the pipeline's. All
 * secrets sign, so that receivers can change theirs one after the other.
 */
export function webhookSender(
  { secrets, hosts }: WebhookSettings,
  clock: Pick<Clock, 'now'>,
  resolve?: Resolve,
): ClosableSender {
  const destinations: Destinations = { hosts: 'any', trusted: hosts }
  const signers = secrets.map((secret) => new Webhook(secret))
  const guarded = guardedFetch(destinations, resolve)
  return {
    fault(url) {
      return signers.length === 0
        ? 'this service signs no webhooks: WEBHOOK_SECRETS is not set'
        : webhookUrlFault(url, destinations)
    },
    async send({ url, eventId, body, sentAt }): Promise<WebhookAnswer> {
      if (signers.length === 0)
        return { kind: 'refused', why: 'gets nothing unsigned: WEBHOOK_SECRETS is not set' }
      const at = new Date(sentAt)
      const answer = await guarded.ask({
        url,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'webhook-id': eventId,
          'webhook-timestamp': String(Math.floor(sentAt / 1_000)),
          'webhook-signature': signers.map((signer) => signer.sign(eventId, at, body)).join(' '),
        },
        body,
        timeoutMs: limits.webhookMsMax,
        bodyBytesMax: limits.webhookAnswerBytesMax,
        isBodyCut: true,
        redirectsMax: 0,
      })
      if (answer.kind !== 'answer') return answer
      const retryAfterMs = readRetryAfterMs(answer.headers['retry-after'] ?? '', clock.now())
      return { kind: 'status', status: answer.status, retryAfterMs }
    },
    close: async () => guarded.close(),
  }
}
