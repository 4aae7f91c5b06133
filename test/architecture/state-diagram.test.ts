import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { transitions } from '../../src/core/jobs/transitions.ts'
import { rootDir } from './sources.ts'

test('the state diagram of ARCHITECTURE.md has exactly the steps of the table of transitions', () => {
  const page = readFileSync(join(rootDir, 'ARCHITECTURE.md'), 'utf8')
  const table = Object.entries(transitions).flatMap(([event, { from, to }]) =>
    from.map((each) => `${each} --> ${to}: ${event}`),
  )
  expect(stepsOf(page)).toEqual(table.toSorted())
})

test('steps are read from a diagram of mermaid', () => {
  const page = [
    '```mermaid\nflowchart\n  a --> b: no\n```',
    '```mermaid\nstateDiagram-v2\n  %% why\n  [*] --> waiting\n  waiting-->slotted : slotted\n  failed --> [*]\n```',
  ].join('\n\n')
  expect(stepsOf(page)).toEqual(['waiting --> slotted: slotted'])
})

/** `from --> to: event`, sorted. The start and the end of a diagram are no steps. */
function stepsOf(page: string): readonly string[] {
  const diagram = /^```mermaid\s+stateDiagram-v2\b(.*?)^```/ms.exec(page)?.[1] ?? ''
  const steps = diagram.matchAll(/^\s*(\w+)\s*-->\s*(\w+)\s*:\s*(\w+)\s*$/gm)
  return [...steps].map(([, from, to, event]) => `${from} --> ${to}: ${event}`).toSorted()
}
