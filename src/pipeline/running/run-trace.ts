import { jobId } from '../../core/jobs/keys.ts'
import type { LogFacts } from '../../core/log-event.ts'
import type { WorkMessage } from '../../ports/messages.ts'
import type { Context } from '../context.ts'
import type { RunOutcome } from './run-end.ts'

/** The measurements of a run, in milliseconds. A part that the run did not reach has none. */
export type RunTrace = {
  /** How long after the message became visible a worker took it. */
  readonly wakeLateMs: number
  claimMs?: number
  /** How long after its slot the call started. */
  slotLateMs?: number
  callMs?: number
  /** What the model answered with over HTTP; null when no answer came. A call that was not made has none. */
  status?: number | null
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
  { log }: Pick<Context, 'log'>,
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
