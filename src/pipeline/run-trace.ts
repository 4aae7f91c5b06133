import { jobId } from '../core/keys.ts'
import type { LogFacts } from '../core/log-event.ts'
import type { WorkMessage } from '../ports.ts'
import type { Darkroom } from './darkroom.ts'
import type { RunOutcome } from './run-end.ts'

/** What is measured of a run as it goes; what it did not come to is not there. Times are milliseconds. */
export type RunTrace = {
  /** From the time at which the message was to be seen until it was. */
  readonly wakeLateMs: number
  claimMs?: number
  /** The start, behind its slot. */
  slotLateMs?: number
  callMs?: number
  storeMs?: number
  attempt?: number
  bytes?: number
  tokensOut?: number
  microUsd?: number
}

export function newTrace({ wakeAt }: Pick<WorkMessage, 'wakeAt'>, now: number): RunTrace {
  return { wakeLateMs: Math.max(0, now - wakeAt) }
}

/** The one event at the end of each run: dashboards, alerts and the history of a job are made of it. */
export function logRun(
  { log }: Pick<Darkroom, 'log'>,
  message: WorkMessage,
  { trace, outcome }: { readonly trace: RunTrace; readonly outcome: RunOutcome },
): void {
  const { batch, pool, deployment } = message
  const measured: LogFacts = { ...trace }
  const rounded = Object.entries(measured).map(([name, value]) => [
    name,
    typeof value === 'number' ? Math.round(value) : value,
  ])
  log.event('run', {
    job: jobId(message),
    batch,
    pool,
    deployment,
    outcome: outcome.kind,
    code: 'code' in outcome ? outcome.code : null,
    images: 'images' in outcome ? outcome.images : undefined,
    ...Object.fromEntries(rounded),
  })
}
