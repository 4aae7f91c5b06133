import type { WebhookAnswer } from '../core/batches/webhook.ts'

export type WebhookSender = {
  /** Why no webhook can go there, as a sentence: the address, or that nothing is set to sign with. */
  fault(url: string): string | undefined
  /** Sends the event once, signed. */
  send(delivery: {
    readonly url: string
    readonly eventId: string
    readonly body: string
    readonly sentAt: number
  }): Promise<WebhookAnswer>
}
