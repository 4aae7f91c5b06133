import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { logEvents } from '../../src/core/log-event.ts'
import { alertEvents } from '../infra/alert-events.ts'
import { sources } from './sources.ts'

const names = Object.keys(logEvents)

test('each event of the table is logged somewhere', () => {
  const unused = names.filter(
    (name) => !sources.some(({ path, text }) => path !== 'core/log-event.ts' && text.includes(`'${name}'`)),
  )
  expect(unused).toEqual([])
})

test('the page on logs has each event, and no other', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/logs.md'), 'utf8')
  const table = page.slice(page.indexOf('## The events'), page.indexOf('`run` has'))
  const told = [...table.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name).filter((name) => name !== 'code')
  expect(new Set(told)).toEqual(new Set(names))
})

test('traces are not sampled: sums are made of them', () => {
  const host = JSON.parse(readFileSync(join(import.meta.dirname, '../../host.json'), 'utf8'))
  expect(host.logging.applicationInsights.samplingSettings.excludedTypes.split(';')).toContain('Trace')
})

test('alerts go by events that are logged', () => {
  const alerts = alertEvents()
  expect(alerts.length).toBeGreaterThan(3)
  expect(alerts.filter((name) => !names.includes(name))).toEqual([])
})
