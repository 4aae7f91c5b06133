import { styleText } from 'node:util'
import { z } from 'zod'

export type LogFormat = 'text' | 'json'

/** A line of the host's log: its level, the function or `host`, and what was said. */
const linePattern = /^\[(\w+)\] ([^:]+): (.*)$/

const eventSchema = z.looseObject({ time: z.iso.datetime(), level: z.string(), event: z.string() })

/**
 * A line of the host's log as a terminal shows it. `json` leaves an event as it is, and makes one of every other line.
 * `text` is for a person: local time, the level where it is no mere information, the event, and its facts.
 */
export function formatLine(line: string, format: LogFormat, { hasColour }: { hasColour: boolean }): string {
  const [, level = 'info', source = 'host', said = line] = linePattern.exec(line) ?? []
  const event = readEvent(said)
  if (format === 'json') {
    return event === undefined ? JSON.stringify({ time: new Date(), level, source, message: said }) : said
  }
  if (event === undefined) return line
  const { time, level: graded, event: name, ...facts } = event
  const style = (kind: 'dim' | 'yellow' | 'red' | 'bold', text: string): string =>
    hasColour ? styleText(kind, text, { validateStream: false }) : text
  const shown = Object.entries(facts)
    .filter(([, value]) => value !== null)
    .map(
      ([fact, value]) =>
        `${style('dim', `${fact}=`)}${typeof value === 'string' ? value : JSON.stringify(value)}`,
    )
  const grade =
    graded === 'info'
      ? ''
      : `${style(graded === 'error' ? 'red' : 'yellow', graded === 'error' ? 'ERROR' : 'WARN')} `
  return `${style('dim', localTime(time))} ${grade}${style('bold', name)} ${shown.join(' ')}`.trimEnd()
}

function readEvent(text: string): z.infer<typeof eventSchema> | undefined {
  if (!text.startsWith('{')) return undefined
  try {
    return eventSchema.safeParse(JSON.parse(text)).data
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function localTime(time: string): string {
  return new Date(time).toTimeString().slice(0, 8)
}
