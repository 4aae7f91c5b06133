import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { rootDir } from '../architecture/sources.ts'

type AlertRule = {
  readonly name: string
  readonly events: readonly string[]
  /** Facts of the event: each value of them is an alert of its own. */
  readonly by: readonly string[]
  /** Empty: it is resolved by itself when its state ends. */
  readonly mute: string
  readonly query: string
}

/** The alerts that wait for events, as the Bicep has them. */
export function alertRules(): readonly AlertRule[] {
  const text = readFileSync(join(rootDir, 'infra/modules/alerts.bicep'), 'utf8')
  const rules = text.slice(text.indexOf('var eventRules'), text.indexOf('var eventQueries'))
  const window = /^var window = '(\w+)'$/m.exec(text)?.[1] ?? ''
  return rules
    .split(/^ {2}\{$/m)
    .slice(1)
    .map((rule) => {
      const [, listed = ''] = /^ {4}events: \[(.*)\]$/m.exec(rule) ?? []
      const [, mute = ''] = /^ {4}mute: (.*)$/m.exec(rule) ?? []
      const events = quoted(listed)
      const by = quoted(/^ {4}by: \[(.*)\]$/m.exec(rule)?.[1] ?? '')
      return {
        name: /^ {4}name: '([\w-]+)'$/m.exec(rule)?.[1] ?? '',
        events,
        by,
        mute: mute === 'window' ? window : (quoted(mute)[0] ?? ''),
        query: [
          'traces',
          "where message startswith '{'",
          'extend e = parse_json(message)',
          `where tostring(e.event) in (${events.map((event) => `'${event}'`).join(', ')})`,
          ...by.map((fact) => `extend ${fact} = tostring(e.${fact})`),
          ...quoted(rule.slice(rule.indexOf('rest: ['))),
        ].join('\n| '),
      }
    })
}

/** The names of the events that alerts wait for. The service must be able to log each of them. */
export function alertEvents(): readonly string[] {
  return alertRules().flatMap(({ events }) => events)
}

/** The texts of a piece of Bicep. */
function quoted(bicep: string): readonly string[] {
  return [...bicep.matchAll(/'((?:[^'\\]|\\.)*)'/g)].map(([, text = '']) => text.replaceAll(/\\(.)/g, '$1'))
}
