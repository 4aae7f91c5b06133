/** The host's levels, as the library names them. */
export type LogLevel = 'trace' | 'debug' | 'information' | 'warning' | 'error' | 'critical' | 'none'

export type LogEntry = {
  readonly source: string
  readonly level: LogLevel
  readonly category: 'user' | 'system' | 'customMetric'
  readonly message: string
  readonly invocationContext?: unknown
}

export const levelPrefix: Readonly<Record<LogLevel, string>> = {
  trace: '[trace]',
  debug: '[debug]',
  information: '[info]',
  warning: '[warn]',
  error: '[error]',
  critical: '[critical]',
  none: '[none]',
}
