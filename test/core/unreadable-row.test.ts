import { expect, test } from 'vitest'
import { UnreadableRow, unreadableIn } from '../../src/core/unreadable-row.ts'

test('unreadable rows are found in whatever was thrown because of them, each kind once', () => {
  const job = new UnreadableRow('job', new SyntaxError('x'))
  expect(unreadableIn(job)).toEqual(['job'])
  const all = new AggregateError([
    job,
    new Error('else'),
    new AggregateError([new UnreadableRow('flow', 0), job]),
  ])
  expect(unreadableIn(all)).toEqual(['job', 'flow'])
  expect(unreadableIn(new Error('else'))).toEqual([])
})
