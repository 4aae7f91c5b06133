/** Something that starts invocations: a queue, a timer, or the HTTP server. */
export type Listener = {
  /** Starts nothing more, at once; resolves when all that is running has ended. */
  stop(): Promise<void>
  /** Invocations that have started and not ended. */
  running(): number
  /** Gives up on what still runs after `stop`: its end has no effect any more. */
  abandon(): void
}

/** The text of an error for a log line: its stack, which begins with name and message, and its causes. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const text = error.stack ?? String(error)
  return error.cause === undefined ? text : `${text}\ncaused by ${describeError(error.cause)}`
}
