import { Cron } from 'croner'
import type { LogLevel } from './log-entry.ts'
import type { TimerTrigger } from './function-metadata.ts'
import { describeError } from './listener.ts'
import type { Listener } from './listener.ts'
import type { TypedData } from './programming-model.ts'

/** The real host keeps a record of past runs only for schedules that are at least this far apart (learn, timer). */
const minMonitoredIntervalMs = 60_000

/** What .NET sends for a run that has never been. */
const never = '0001-01-01T00:00:00+00:00'

/**
 * Runs a function on its NCRONTAB schedule (six fields, in UTC, as on Flex Consumption). It never overlaps itself: a
 * time that comes while it runs is passed over. Azure lets only one instance run a timer, by a lock in storage; one
 * local host is one instance, so there is no lock. No record outlives the process, so no run is ever past due.
 * Throws when the schedule cannot be read.
 */
export function startTimer(options: {
  readonly trigger: TimerTrigger
  readonly run: (data: TypedData) => Promise<void>
  readonly log: (level: LogLevel, message: string) => void
}): Listener {
  const { trigger, run, log } = options
  let lastAt: Date | undefined
  let current: Promise<void> | undefined
  const cron = schedule(trigger.schedule, fire)
  const [first, second] = cron.nextRuns(2)
  const intervalMs = first && second ? second.getTime() - first.getTime() : Number.POSITIVE_INFINITY
  const monitored = trigger.useMonitor && intervalMs >= minMonitoredIntervalMs
  if (trigger.runOnStartup) fire()

  return {
    stop: async () => {
      cron.stop()
      await current
    },
    running: () => (current === undefined ? 0 : 1),
    abandon: () => undefined,
  }

  function fire(): void {
    if (current !== undefined) return
    current = runOnce().finally(() => {
      current = undefined
    })
  }

  async function runOnce(): Promise<void> {
    const info = {
      Schedule: { AdjustForDST: true },
      ScheduleStatus: monitored ? status() : null,
      IsPastDue: false,
    }
    lastAt = new Date()
    try {
      await run({ json: JSON.stringify(info) })
    } catch (error) {
      log('error', `timer run failed: ${describeError(error)}`)
    }
  }

  function status() {
    const last = lastAt?.toISOString() ?? never
    return { Last: last, Next: cron.nextRun()?.toISOString() ?? never, LastUpdated: last }
  }
}

function schedule(pattern: string, fire: () => void): Cron {
  try {
    // Where day of month and day of week are both given, NCRONTAB wants both to hold.
    return new Cron(pattern, { mode: '6-part', timezone: 'UTC', domAndDow: true }, fire)
  } catch (cause) {
    throw new Error(
      `got the schedule ${JSON.stringify(pattern)}, wanted six NCRONTAB fields: ${String(cause)}`,
      {
        cause,
      },
    )
  }
}
