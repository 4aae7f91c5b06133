/**
 * All that the service logs, each with its level. A line is one JSON object: time, level, event, and facts of the event,
 * which are ids, numbers and codes of ours. Prompts, keys, signatures, names of files, addresses of receivers and the
 * model's own words are no facts.
 *
 * `each`: every one is written, since sums are made of them. Of all others a hundred like ones become one with a count.
 */
export const logEvents = {
  /** A run of a job has ended: what became of it, how long its parts took, what it cost. */
  run: { level: 'info', each: true },
  /** How a pool stands, once a minute while it has work. */
  pool: { level: 'info', each: true },
  job_accepted: { level: 'info', each: true },
  /** A job that cannot be right: it has failed from the start. */
  job_rejected: { level: 'warn', each: true },
  /** A message was tried ten times in vain. */
  message_poisoned: { level: 'error', each: true },
  /** A deployment gets nothing but probes: wrong key or address, blocked, retired, or nothing but faults from it. */
  deployment_stopped: { level: 'error', each: true },
  deployment_paused: { level: 'warn', each: false },
  deployment_limit_told: { level: 'info', each: false },
  /** A batch is paused: the content policy refused too many of its jobs. */
  refusals: { level: 'error', each: true },
  /** A batch is paused: its next call might cost more than its cap leaves. */
  cap_reached: { level: 'warn', each: true },
  /** A row of a table cannot be read by this version. */
  rows_unreadable: { level: 'error', each: false },
  /** What a minute's look at unfinished jobs brought back. */
  rescued: { level: 'warn', each: true },
  instance_died: { level: 'warn', each: true },
  tick_overdue: { level: 'warn', each: false },
  slots_wasted: { level: 'info', each: false },
  lease_not_renewed: { level: 'warn', each: false },
  result_not_stored: { level: 'warn', each: false },
  storage_failed: { level: 'warn', each: false },
  clock_corrected: { level: 'warn', each: false },
  /** A batch's file has faults: nothing of it is started. */
  batch_refused: { level: 'warn', each: true },
  /** The lines of a batch's file are jobs. */
  batch_registered: { level: 'info', each: true },
  batch_finalised: { level: 'info', each: true },
  batch_put_off: { level: 'warn', each: false },
  jobs_retried: { level: 'info', each: true },
  webhook: { level: 'info', each: false },
  webhook_given_up: { level: 'error', each: true },
  files_removed: { level: 'info', each: true },
  /** Settings that keep the service from answering: what the operator must do. */
  keys_not_set: { level: 'error', each: false },
  settings_faulty: { level: 'error', each: false },
  /** A request that was refused. */
  request_refused: { level: 'info', each: false },
  /** A request that failed for a reason of ours. */
  request_failed: { level: 'error', each: false },
  /** A function failed: its message is tried again. */
  function_failed: { level: 'error', each: false },
} as const satisfies Readonly<Record<string, { readonly level: LogLevel; readonly each: boolean }>>

export type LogEvent = keyof typeof logEvents

export type LogLevel = 'info' | 'warn' | 'error'

export type LogFacts = Readonly<Record<string, string | number | boolean | null | undefined>>

/** One line. Facts that are undefined are left out. */
export function logLine(event: LogEvent, facts: LogFacts, at: number): string {
  const { level } = logEvents[event]
  const { code } = facts
  const told = typeof code === 'string' ? { ...facts, code: asCode(code) } : facts
  return JSON.stringify({ time: new Date(at).toISOString(), level, event, ...told })
}

/**
 * What an error says of itself in codes, those of storage and of Node, else its name; of several errors the codes of some.
 * Never its message, which may quote what somebody sent.
 */
export function errorCode(error: unknown): string {
  if (!(error instanceof Error)) return 'no_error'
  if (error instanceof AggregateError) return asCode([...new Set(error.errors.map(errorCode))].join(' '))
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  const status = 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : undefined
  return asCode([status, code ?? error.name].filter((part) => part !== undefined).join(' '))
}

/** Its codes; and where it comes from, when it is a fault of ours. */
export function errorFacts(error: unknown): { readonly code: string; readonly at?: string } {
  const code = errorCode(error)
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  const at = /\n {4}at (?:async )?([\w.<>]+) \(\S+:\d+:\d+\)/.exec(stack)?.[1]
  return at === undefined ? { code } : { code, at }
}

/** A code is short, and of plain characters: whatever else stands where one should may be somebody's words. */
function asCode(text: string): string {
  return text.replaceAll(/[^\w .-]/g, '').slice(0, codeCharsMax)
}

const codeCharsMax = 80
