import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { rootDir } from '../architecture/sources.ts'
import { alertEvents } from './alert-events.ts'

const text = readFileSync(join(rootDir, 'infra/modules/alerts.bicep'), 'utf8')

test('alerts wait for these events', () => {
  expect(alertEvents()).toEqual([
    'deployment_stopped',
    'pool',
    'refusals',
    'rows_unreadable',
    'message_poisoned',
    'job_rejected',
  ])
})

test('each event has one rule, and no rule looks for words of the log', () => {
  const rules = text.slice(text.indexOf('var eventRules'), text.indexOf('var eventQueries'))
  expect([...rules.matchAll(/^ {4}name: /gm)]).toHaveLength(alertEvents().length)
  expect(text).not.toMatch(/message has|message contains|severityLevel/)
})

test('the alert on silence waits for a function that runs each minute', () => {
  expect(text).toContain(String.raw`where name == \'rescue\' and success == true`)
  const timer = readFileSync(join(rootDir, 'src/functions/rescue.ts'), 'utf8')
  expect(timer).toMatch(/app\.timer\('rescue', \{\s+schedule: '0 \* \* \* \* \*'/)
})
