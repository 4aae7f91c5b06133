import { Cron } from 'croner'
import type { LogLevel } from './log-entry.ts'
import type { TimerTrigger } from './function-metadata.ts'
import { describeError } from './listener.ts'
import type { Listener } from './listener.ts'
import type { TypedData } from './programming-model.ts'
import type { TimerStatus, TimerStatusStore } from './timer-status.ts'

/** The real host keeps a record of past runs only for schedules that are at least this far apart (learn, timer). */
const minMonitoredIntervalMs = 60_000

/** What .NET sends for a run that has never been. */
const never = '0001-01-01T00:00:00+00:00'

/**
 * Runs a function on its NCRONTAB schedule (six fields, in UTC, as on Flex Consumption). It never overlaps itself: a
 * time that comes while it runs is passed over. A run that was missed while no host ran is made up for at the start, and
 * told that it is past due. Azure lets only one instance run a timer, by a lock in storage; local hosts that share storage
 * all run theirs. Throws when the schedule cannot be read.
 */
export function startTimer(options: {
  readonly functionName: string
  readonly trigger: TimerTrigger
  readonly statuses: TimerStatusStore
  readonly run: (data: TypedData) => Promise<void>
  readonly log: (level: LogLevel, message: string) => void
}): Listener {
  const { functionName, trigger, statuses, run, log } = options
  let current: Promise<void> | undefined
  let status: TimerStatus | undefined
  let isStopping = false
  let isAbandoned = false
  // Tells the times also when nothing is run any more.
  const times = schedule(trigger.schedule)
  const cron = schedule(trigger.schedule, () => fire({ isPastDue: false }))
  const [first, second] = times.nextRuns(2)
  const intervalMs = first && second ? second.getTime() - first.getTime() : Number.POSITIVE_INFINITY
  const isMonitored = trigger.useMonitor && intervalMs >= minMonitoredIntervalMs
  const started = start()

  return {
    stop: async () => {
      isStopping = true
      cron.stop()
      await started
      await current
    },
    running: () => (current === undefined ? 0 : 1),
    abandon: () => {
      isStopping = true
      isAbandoned = true
      cron.stop()
    },
  }

  async function start(): Promise<void> {
    if (isMonitored) status = await recorded()
    const isPastDue = status !== undefined && Date.parse(status.Next) < Date.now()
    if (isPastDue) log('information', 'a run was missed; it is made up for now')
    if (isPastDue || trigger.runOnStartup) fire({ isPastDue })
  }

  /** The record of earlier runs; a first one where there is none. A timer whose record is out of reach runs without. */
  async function recorded(): Promise<TimerStatus | undefined> {
    try {
      const found = await statuses.read(functionName)
      if (found !== undefined) return found
      const made = { Last: never, Next: next(), LastUpdated: new Date().toISOString() }
      await statuses.write(functionName, made)
      return made
    } catch (error) {
      log('warning', `the record of its runs cannot be used: ${describeError(error)}`)
      return undefined
    }
  }

  function fire({ isPastDue }: { readonly isPastDue: boolean }): void {
    if (current !== undefined || isStopping) return
    current = runOnce(isPastDue).finally(() => {
      current = undefined
    })
  }

  async function runOnce(isPastDue: boolean): Promise<void> {
    const info = {
      Schedule: { AdjustForDST: true },
      ScheduleStatus: status ?? null,
      IsPastDue: isPastDue,
    }
    const at = new Date().toISOString()
    try {
      await run({ json: JSON.stringify(info) })
    } catch (error) {
      log('error', `timer run failed: ${describeError(error)}`)
    }
    // A run that was cut is one that was missed.
    if (!isMonitored || isAbandoned) return
    status = { Last: at, Next: next(), LastUpdated: at }
    try {
      await statuses.write(functionName, status)
    } catch (error) {
      log('warning', `its run could not be recorded: ${describeError(error)}`)
    }
  }

  function next(): string {
    return times.nextRun()?.toISOString() ?? never
  }
}

function schedule(pattern: string, fire?: () => void): Cron {
  try {
    // Where day of month and day of week are both given, NCRONTAB wants both to hold.
    const options = { mode: '6-part', timezone: 'UTC', domAndDow: true } as const
    return fire === undefined ? new Cron(pattern, options) : new Cron(pattern, options, fire)
  } catch (cause) {
    throw new Error(
      `got the schedule ${JSON.stringify(pattern)}, wanted six NCRONTAB fields: ${String(cause)}`,
      { cause },
    )
  }
}
