import { logEvents, logLine, type LogEvent, type LogFacts, type LogLevel } from '../core/log-event.ts'
import { limits } from '../core/limits.ts'
import { timing } from '../core/timing.ts'
import type { Log } from '../ports/log.ts'

/** Facts by which two events are like each other; the others say to whom it happened, and when. */
const kindFacts = [
  'doing',
  'code',
  'status',
  'outcome',
  'route',
  'pool',
  'deployment',
  'function',
  'queue',
] as const

type Likes = {
  readonly event: LogEvent
  /** Those that were not written since the last line. */
  untold: number
  /** Of requests: whoever was told an id must find it. */
  requests: string[]
  last: LogFacts
  readonly ending: NodeJS.Timeout
}

export type EventLog = Log & {
  /** Writes what was counted and not told yet: an instance ends. */
  flush(): void
}

/**
 * Events as lines of JSON. The first of its kind is written at once; those like it that follow within a minute are
 * counted, and become one line with `count`, when they are a hundred or the minute is over.
 */
export function eventLog({
  write,
  now,
}: {
  readonly write: (level: LogLevel, line: string) => void
  readonly now: () => number
}): EventLog {
  const likes = new Map<string, Likes>()
  const writeOne = (event: LogEvent, facts: LogFacts): void =>
    write(logEvents[event].level, logLine(event, facts, now()))

  function writeUntold(found: Likes): void {
    const { event, untold, requests, last } = found
    if (untold > 0) {
      writeOne(event, {
        ...last,
        count: untold,
        ...(requests.length > 1 && { requests: requests.join(' ') }),
      })
    }
    found.untold = 0
    found.requests = []
  }

  /** The next event of the kind is written at once again. */
  function forget(kind: string): void {
    const found = likes.get(kind)
    if (found === undefined) return
    likes.delete(kind)
    clearTimeout(found.ending)
    writeUntold(found)
  }

  return {
    event(event, facts = {}) {
      if (logEvents[event].each) return writeOne(event, facts)
      const kind = [event, ...kindFacts.map((name) => `${facts[name] ?? ''}`)].join('|')
      const found = likes.get(kind)
      if (found !== undefined) {
        found.untold += 1
        if (typeof facts['request'] === 'string') found.requests.push(facts['request'])
        found.last = facts
        if (found.untold >= limits.likeEventsMax) writeUntold(found)
        return
      }
      writeOne(event, facts)
      // Of kinds without end, each is written.
      if (likes.size >= limits.likeKindsMax) return
      // It keeps no process alive.
      const ending = setTimeout(() => forget(kind), timing.likeEventsMs).unref()
      likes.set(kind, { event, untold: 0, requests: [], last: facts, ending })
    },
    flush() {
      for (const kind of likes.keys()) forget(kind)
    },
  }
}
