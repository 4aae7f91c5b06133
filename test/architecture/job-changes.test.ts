import { expect, test } from 'vitest'
import { codeOf, findings, sources, type Source } from './sources.ts'

/** Outside of storage the port is called by name, or its functions are taken out of it: both are found. */
const calls = (name: string): RegExp =>
  new RegExp(`\\bjobs\\b\\s*\\??\\.\\s*${name}\\b|\\{[^{}]*\\b${name}\\b[^{}]*\\}\\s*=[^=>;]*\\bjobs\\b`)

const callersOf = (name: string, files: readonly Source[] = sources): readonly string[] =>
  [...new Set(findings(calls(name), files).map((line) => line.replace(/: .*$/s, '')))].toSorted()

/** Whoever changes a job in another way forgets its webhook, or the pacer. */
test('a job is changed by changeJob alone', () => {
  expect(callersOf('change')).toEqual(['pipeline/jobs/change-job.ts'])
})

test('jobs are moved by their index rows, without being read, only where slots are given and batches are cancelled', () => {
  expect(callersOf('slot')).toEqual(['pipeline/pacing/pacer.ts'])
  expect(callersOf('cancelQueued')).toEqual(['pipeline/batches/batches.ts', 'pipeline/pacing/pacer.ts'])
})

test('the table of jobs is handed on under no other name, which would hide a call', () => {
  expect(findings(/\bcontext\??\.jobs\b(?!\s*\??\.)|\bjobs:\s*\w+[^{}]*\}\s*=\s*context\b/, sources)).toEqual(
    [],
  )
})

test('a caller that announces for itself does announce', () => {
  const silent = sources
    .filter(
      ({ path, code }) =>
        /\bisAnnouncedByCaller: true\b/.test(code) && path !== 'pipeline/jobs/change-job.ts',
    )
    .filter(({ code }) => !/\bawait announce\(/.test(code))
  expect(silent.map(({ path }) => path)).toEqual([])
})

test('a phase has one name everywhere: what its index rows begin with is known in storage alone', () => {
  const prefix = /['"`](?:wait|slot|run|done|fail|gone)[:;]/
  const knowing = sources.filter(({ room, text }) => room !== 'storage' && prefix.test(text))
  expect(knowing.map(({ path }) => path)).toEqual([])
})

test('a call is found however it is written', () => {
  const found = (text: string) =>
    callersOf('change', [{ path: 'a.ts', room: 'a', text, code: codeOf(text), imports: [] }])
  for (const text of [
    'await context.jobs.change(before, after)',
    'await context.jobs\n    .change(before, after)',
    'const { get, change } = context.jobs',
    'refs.map(jobs.change)',
  ]) {
    expect(found(text), text).toEqual(['a.ts'])
  }
  expect(found('const change = await changeJob(context, ref, next)\nconst { jobs } = page')).toEqual([])
  expect(found('// context.jobs.change(')).toEqual([])
})
