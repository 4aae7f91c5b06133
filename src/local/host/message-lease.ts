import { RestError } from '@azure/storage-queue'
import type { DequeuedMessageItem, QueueClient } from '@azure/storage-queue'
import type { LogLevel } from './log-entry.ts'
import type { HostClock } from './clock.ts'

/**
 * Keeps a message invisible while it is run, by renewing its lease at half. Every renewal changes the pop receipt:
 * `end` stops renewing and gives the newest one, with which alone the message can be deleted or released.
 */
export function holdLease(options: {
  readonly queue: QueueClient
  readonly message: DequeuedMessageItem
  readonly leaseMs: number
  readonly clock: HostClock
  /** Ends the renewing without a word. */
  readonly signal: AbortSignal
  readonly log: (level: LogLevel, message: string) => void
}): { end(): Promise<string> } {
  const { queue, message, leaseMs, clock, signal, log } = options
  const ended = new AbortController()
  const over = AbortSignal.any([ended.signal, signal])
  let popReceipt = message.popReceipt
  const renewing = renew()

  return {
    end: async () => {
      ended.abort()
      await renewing
      return popReceipt
    },
  }

  async function renew(): Promise<void> {
    let waitMs = leaseMs / 2
    for (;;) {
      await clock.pause(waitMs, over)
      if (over.aborted) return
      waitMs = (await renewed()) ? leaseMs / 2 : leaseMs / 10
    }
  }

  /** False when storage did not take it, which leaves a few more tries before the lease lapses. */
  async function renewed(): Promise<boolean> {
    try {
      const leaseSeconds = Math.round(leaseMs / 1000)
      const options = { abortSignal: signal }
      const answer = await queue.updateMessage(
        message.messageId,
        popReceipt,
        undefined,
        leaseSeconds,
        options,
      )
      popReceipt = answer.popReceipt ?? popReceipt
      return true
    } catch (error) {
      if (signal.aborted) return false
      if (!(error instanceof RestError)) throw error
      log('warning', `renewing the lease of message ${message.messageId} failed: ${error.message}`)
      return false
    }
  }
}
