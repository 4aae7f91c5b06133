import type { WebhookAnswer } from '../../src/core/batches/webhook.ts'
import type { WebhookSender } from '../../src/ports/webhooks.ts'

export type SentHook = Parameters<WebhookSender['send']>[0] & { readonly body: string }

export type MemoryWebhooks = WebhookSender & {
  readonly sent: SentHook[]
  /** Answers for the next events; then each is taken with 204. */
  readonly script: WebhookAnswer[]
}

/** A receiver that answers as it is told. */
export function memoryWebhooks(): MemoryWebhooks {
  const sent: SentHook[] = []
  const script: WebhookAnswer[] = []
  return {
    sent,
    script,
    fault: () => undefined,
    async send(delivery) {
      sent.push(delivery)
      return script.shift() ?? { kind: 'status', status: 204, retryAfterMs: null }
    },
  }
}
