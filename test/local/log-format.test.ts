import { expect, test } from 'vitest'
import { formatLine } from '../../src/local/log-format.ts'

const time = '2026-11-30T12:00:05.123Z'
const event = JSON.stringify({
  time,
  level: 'info',
  event: 'run',
  job: 'a.b',
  outcome: 'succeeded',
  callMs: 900,
  code: null,
})
const warning = JSON.stringify({
  time,
  level: 'error',
  event: 'deployment_stopped',
  code: '401',
  text: 'two words',
})
const local = new Date(time).toTimeString().slice(0, 8)
const plain = { hasColour: false }

test('a person reads the local time, the event and its facts', () => {
  expect(formatLine(`[info] image-work: ${event}`, 'text', plain)).toBe(
    `${local} run job=a.b outcome=succeeded callMs=900`,
  )
  expect(formatLine(warning, 'text', plain)).toBe(`${local} ERROR deployment_stopped code=401 text=two words`)
  expect(formatLine(`[info] image-work: ${event}`, 'text', { hasColour: true })).toContain('\u001b[')
})

test('what is no event is left as it is', () => {
  for (const line of [
    '[info] host: 39 functions at http://127.0.0.1:7071',
    '[warn] a: {"broken',
    'anything',
    '',
  ]) {
    expect(formatLine(line, 'text', plain)).toBe(line)
  }
})

test('as JSON an event is left as it is, and every other line becomes an object', () => {
  expect(formatLine(`[info] image-work: ${event}`, 'json', plain)).toBe(event)
  expect(JSON.parse(formatLine('[warn] pacer: receiving failed: x', 'json', plain))).toEqual({
    time: expect.stringMatching(/^\d{4}-.*Z$/),
    level: 'warn',
    source: 'pacer',
    message: 'receiving failed: x',
  })
})
