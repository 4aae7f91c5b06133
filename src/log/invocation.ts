import { AsyncLocalStorage } from 'node:async_hooks'
import type { LogLevel } from '../core/log-event.ts'

/** What takes the lines of one run of a function: the host files them under it, with the level they came with. */
export type InvocationLog = Readonly<Record<LogLevel, (line: string) => void>>

const current = new AsyncLocalStorage<{ readonly log: InvocationLog; isOver: boolean }>()

/** Whatever is logged while it runs, however deep inside, goes through this log. */
export async function withInvocationLog<T>(log: InvocationLog, run: () => Promise<T>): Promise<T> {
  const invocation = { log, isOver: false }
  try {
    return await current.run(invocation, run)
  } finally {
    invocation.isOver = true
  }
}

/**
 * Writes a line through the invocation that it belongs to. What belongs to none, or outlasts it, goes to the console:
 * the host takes that too, but guesses its level from the words in it.
 */
export function writeLine(level: LogLevel, line: string): void {
  const invocation = current.getStore()
  if (invocation === undefined || invocation.isOver) console[level](line)
  else invocation.log[level](line)
}
