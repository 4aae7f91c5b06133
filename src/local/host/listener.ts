import { setTimeout as delay } from 'node:timers/promises'

/** Something that starts invocations: a queue, a timer, or the HTTP server. */
export type Listener = {
  /** Starts nothing more, at once; resolves when all that is running has ended. */
  stop(): Promise<void>
  /** Invocations that have started and not ended. */
  running(): number
  /** Gives up on what still runs after `stop`: its end has no effect any more. */
  abandon(): void
}

/** Waits, or until `signal` aborts, which is no error. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal })
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** The text of an error for a log line: its stack, which begins with name and message, and its causes. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const text = error.stack ?? String(error)
  return error.cause === undefined ? text : `${text}\ncaused by ${describeError(error.cause)}`
}
