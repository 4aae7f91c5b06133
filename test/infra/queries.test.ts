import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { logEvents } from '../../src/core/log-event.ts'
import { formatLine } from '../../src/local/log-format.ts'
import { rootDir } from '../architecture/sources.ts'

const page = readFileSync(join(rootDir, 'docs/logs.md'), 'utf8')
const queries = [...page.matchAll(/```kusto\n(.*?)```/gs)].map(([, query = '']) => query)

describe('the queries of docs/logs.md', () => {
  test('are six, and each can be pasted by itself', () => {
    expect(queries.map((query) => query.slice(0, 5))).toEqual([
      '// 1.',
      '// 2.',
      '// 3.',
      '// 4.',
      '// 5.',
      '// 6.',
    ])
    for (const query of queries) {
      // The portal takes an empty line for the end of a query.
      expect(query).not.toMatch(/\n\s*\n/)
      expect(/^ev \|/m.test(query)).toBe(/^let ev = /m.test(query))
    }
  })

  test('name events that are logged', () => {
    const named = queries.flatMap((query) =>
      [...query.matchAll(/e\.event (?:== (".*?")|in \((.*?)\))/g)].flatMap(([, one, several]) =>
        (one ?? several ?? '').split(', ').map((name) => name.slice(1, -1)),
      ),
    )
    expect(named.length).toBeGreaterThan(8)
    for (const name of named) expect(Object.keys(logEvents)).toContain(name)
  })

  test('know throttling by its status, whatever words the model has for it', () => {
    expect(queries[0]).toContain('throttled = countif(toint(e.status) == 429)')
  })

  test('show what waits now, and not what waited when there was work', () => {
    expect(queries[1]).toContain('timestamp > ago(3m)')
  })
})

describe('the page on logs', () => {
  test('has the facts that are told of a prompt', () => {
    const source = readFileSync(join(rootDir, 'src/functions/image-jobs.ts'), 'utf8')
    const [, facts = ''] = /log\.event\('job_accepted', \{ \.\.\.facts, (.*) \}\)/.exec(source) ?? []
    const names = facts.split(', ').map((fact) => fact.replace(/:.*/, ''))
    expect(names).toEqual(['isNew', 'promptChars', 'promptHash'])
    const said = page.split('\n\n').find((each) => each.startsWith('`job_accepted` has')) ?? ''
    for (const name of names) expect(said).toContain(`\`${name}\``)
  })

  test('has the lines of the host, and of the commands, as they are', () => {
    const line = JSON.parse(formatLine('[information] host: 9 functions', 'json', { hasColour: false }))
    const said = page.split('\n\n').find((each) => each.startsWith('Lines of the host')) ?? ''
    expect(line).not.toHaveProperty('event')
    for (const name of Object.keys(line)) expect(said).toContain(`\`${name}\``)
    const command = readFileSync(join(rootDir, 'src/local/start.ts'), 'utf8')
    expect(command).toContain('console.log(`darkroom: ready on ')
    expect(said).toContain('`darkroom: ready on …`')
  })
})
