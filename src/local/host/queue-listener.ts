import { RestError } from '@azure/storage-queue'
import type { DequeuedMessageItem, QueueClient, QueueServiceClient } from '@azure/storage-queue'
import type { LogLevel } from './log-entry.ts'
import type { QueueSettings } from './host-json.ts'
import type { HostClock } from './clock.ts'
import { describeError } from './listener.ts'
import type { Listener } from './listener.ts'
import { holdLease } from './message-lease.ts'
import { createPollDelay } from './poll-delay.ts'
import { decodeText } from './queue-message.ts'

/** The real host's visibility timeout of a running message, renewed at half for as long as the run takes. */
const usualLeaseMs = 10 * 60_000

/** The waits between the six tries of a request that does not reach storage: 23 s together, as recorded (2026-11-30). */
const retryWaitsMs = [800, 1_600, 3_200, 6_400, 11_000]

/**
 * Runs a function for the messages of one queue, with the rules of Azure's queue trigger (sdk-net, QueueListener and
 * QueueProcessor). At most `batchSize` + `newBatchThreshold` messages are run at once. `run` throws when the message
 * must be tried again. `onUnreachable` is called when storage could not be reached six times in a row; nothing is
 * listened to from then on.
 */
export function listenToQueue(options: {
  readonly service: QueueServiceClient
  readonly queueName: string
  readonly settings: QueueSettings
  readonly run: (message: DequeuedMessageItem, text: string) => Promise<void>
  readonly onUnreachable: (error: RestError) => void
  readonly clock: HostClock
  readonly log: (level: LogLevel, message: string) => void
  readonly leaseMs?: number | undefined
}): Listener {
  const { service, queueName, settings, run, onUnreachable, clock, log, leaseMs = usualLeaseMs } = options
  const queue = service.getQueueClient(queueName)
  const poisonName = `${queueName}-poison`
  const poison = queueName.endsWith('-poison') ? undefined : service.getQueueClient(poisonName)
  const stopping = new AbortController()
  const abandoned = new AbortController()
  const processing = new Set<Promise<void>>()
  const runs = new Set<DequeuedMessageItem>()
  const polling = poll()

  return {
    stop: async () => {
      stopping.abort()
      await polling
      await Promise.all(processing)
    },
    running: () => runs.size,
    abandon: () => {
      stopping.abort()
      abandoned.abort()
    },
  }

  async function poll(): Promise<void> {
    const pollDelay = createPollDelay(settings.maxPollingIntervalMs)
    while (!stopping.signal.aborted) {
      const messages = await receive()
      for (const message of messages) start(message)
      if (messages.length === 0) await clock.pause(pollDelay.next(), stopping.signal)
      else pollDelay.reset()
      while (processing.size > settings.newBatchThreshold) await Promise.race(processing)
    }
  }

  /** Storage that answers, if with an error, is polled again; one that is out of reach ends the listening. */
  async function receive(): Promise<DequeuedMessageItem[]> {
    for (let tries = 0; !stopping.signal.aborted; tries += 1) {
      try {
        return await receiveOnce()
      } catch (error) {
        if (stopping.signal.aborted || abandoned.signal.aborted) return []
        if (!(error instanceof RestError)) throw error
        // A connection that breaks once is nobody's trouble.
        if (tries === 1) log('warning', `receiving messages failed: ${describeFault(error)}`)
        if (error.statusCode !== undefined) return []
        const waitMs = retryWaitsMs[tries]
        if (waitMs !== undefined) await clock.pause(waitMs, stopping.signal)
        else {
          stopping.abort()
          onUnreachable(error)
        }
      }
    }
    return []
  }

  async function receiveOnce(): Promise<DequeuedMessageItem[]> {
    try {
      const { receivedMessageItems } = await queue.receiveMessages({
        numberOfMessages: settings.batchSize,
        visibilityTimeout: seconds(leaseMs),
        abortSignal: abandoned.signal,
      })
      return receivedMessageItems
    } catch (error) {
      // The real host waits until somebody creates the queue. Creating it shows the reader of a fresh account
      // where messages go, and makes no difference to a sender.
      if (!(error instanceof RestError) || error.statusCode !== 404) throw error
      await queue.createIfNotExists({ abortSignal: abandoned.signal })
      return []
    }
  }

  function start(message: DequeuedMessageItem): void {
    // A batch that comes in while the host stops has not begun: the next host gets it at once.
    const handled = stopping.signal.aborted ? release(message, message.popReceipt, 0) : handle(message)
    const settled = handled.finally(() => processing.delete(settled))
    processing.add(settled)
  }

  async function handle(message: DequeuedMessageItem): Promise<void> {
    const text = decodeText(message.messageText, settings.messageEncoding)
    if (text === undefined) return moveToPoison(message, message.popReceipt, 'it is no base64')
    if (message.dequeueCount > settings.maxDequeueCount) {
      return moveToPoison(message, message.popReceipt, `it was delivered ${message.dequeueCount} times`)
    }
    const lease = holdLease({ queue, message, leaseMs, clock, signal: abandoned.signal, log })
    runs.add(message)
    const failure = await failureOf(() => run(message, text))
    const popReceipt = await lease.end()
    if (failure === undefined) await remove(message, popReceipt)
    else {
      const count = `attempt ${message.dequeueCount} of ${settings.maxDequeueCount}`
      log('error', `message ${message.messageId} failed, ${count}: ${describeError(failure.error)}`)
      await fail(message, popReceipt)
    }
    runs.delete(message)
  }

  async function fail(message: DequeuedMessageItem, popReceipt: string): Promise<void> {
    // A failed poison message keeps its lease, so that it does not come back in a tight loop.
    if (poison === undefined) return
    if (message.dequeueCount < settings.maxDequeueCount) {
      await release(message, popReceipt, settings.visibilityTimeoutMs)
    } else await moveToPoison(message, popReceipt, `${message.dequeueCount} attempts failed`)
  }

  /** Copied first and deleted after: dying in between leaves the message twice, never not at all. */
  async function moveToPoison(
    message: DequeuedMessageItem,
    popReceipt: string,
    reason: string,
  ): Promise<void> {
    if (poison === undefined) return
    log('warning', `message ${message.messageId} goes to ${poisonName}: ${reason}`)
    const copied = await attempt('copying a message to the poison queue', async () => {
      await sendCreating(poison, message.messageText, abandoned.signal)
      return true
    })
    if (copied === true) await remove(message, popReceipt)
  }

  async function remove(message: DequeuedMessageItem, popReceipt: string): Promise<void> {
    await attempt('deleting a message', () =>
      queue.deleteMessage(message.messageId, popReceipt, { abortSignal: abandoned.signal }),
    )
  }

  async function release(message: DequeuedMessageItem, popReceipt: string, delayMs: number): Promise<void> {
    const options = { abortSignal: abandoned.signal }
    await attempt('releasing a message', () =>
      queue.updateMessage(message.messageId, popReceipt, undefined, seconds(delayMs), options),
    )
  }

  /** Storage that fails costs some tries and a log line, and a message at worst its lease; everything else passes up. */
  async function attempt<Result>(what: string, act: () => Promise<Result>): Promise<Result | undefined> {
    for (let tries = 0; ; tries += 1) {
      try {
        return await act()
      } catch (error) {
        if (abandoned.signal.aborted) return undefined
        if (!(error instanceof RestError)) throw error
        const waitMs = isPassing(error) ? retryWaitsMs[tries] : undefined
        if (waitMs === undefined) {
          log('warning', `${what} failed: ${describeFault(error)}`)
          return undefined
        }
        await clock.pause(waitMs, abandoned.signal)
      }
    }
  }
}

function isPassing({ statusCode }: RestError): boolean {
  return statusCode === undefined || statusCode >= 500
}

function describeFault({ statusCode, code, message }: RestError): string {
  return `${statusCode ?? ''} ${code ?? ''} ${message}`.trim()
}

async function failureOf(act: () => Promise<void>): Promise<{ readonly error: unknown } | undefined> {
  try {
    await act()
    return undefined
  } catch (error) {
    return { error }
  }
}

async function sendCreating(queue: QueueClient, text: string, abortSignal: AbortSignal): Promise<void> {
  try {
    await queue.sendMessage(text, { abortSignal })
  } catch (error) {
    if (!(error instanceof RestError) || error.statusCode !== 404) throw error
    await queue.createIfNotExists({ abortSignal })
    await queue.sendMessage(text, { abortSignal })
  }
}

function seconds(ms: number): number {
  return Math.round(ms / 1000)
}
