import type { LogEvent, LogFacts } from '../core/log-event.ts'

/** Lines for the operator: never a prompt, never a key. */
export type Log = { event(event: LogEvent, facts?: LogFacts): void }
