import { basename } from 'node:path'
import { describe, expect, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { timing } from '../../src/core/timing.ts'
import { codeOf, findings, sources } from './sources.ts'

describe('core, ports and pipeline have no clock, no chance, no environment and no I/O of their own', () => {
  const pure = sources.filter(({ room }) => ['core', 'ports', 'pipeline'].includes(room))

  test.each([
    ['the time', /\bDate\.now\b|\bnew Date\(\s*\)|\bnew Date\b(?!\s*\()|(?<!new )\bDate\(|\bperformance\b/],
    ['chance', /\bMath\.random\b|\bcrypto\b/],
    ['timers', /\b(?:setTimeout|setInterval|setImmediate|queueMicrotask)\b/],
    ['the environment', /\bprocess\b|\bimport\.meta\b|\bnavigator\b/],
    ['a way out', /\bconsole\b|\bglobalThis\b|(?<![.\w])fetch\s*\(|\bXMLHttpRequest\b|\bWebSocket\b/],
    ['Node', /\brequire\s*\(|\bBuffer\b/],
  ])('%s', (_, pattern) => {
    expect(findings(pattern, pure)).toEqual([])
  })

  test('and no module of Node', () => {
    const nodes = pure.flatMap(({ path, imports }) => imports.map(({ from }) => `${path}: ${from}`))
    expect(nodes.filter((line) => line.includes(': node:'))).toEqual([])
  })
})

test('only app, settings and local name the environment', () => {
  const others = sources.filter(({ path }) => !/^(?:app\.ts|settings\.ts|local\/.*)$/.test(path))
  expect(findings(/\bprocess\.env\b|\bprocess\[|[{,]\s*env\s*[,}][^\n]*\bprocess\b/, others)).toEqual([])
})

test("only app and local read the machine's clock: everybody else takes the corrected one", () => {
  const others = sources.filter(({ path }) => !/^(?:app\.ts|local\/.*)$/.test(path))
  expect(findings(/\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\b/, others)).toEqual([])
})

describe('no type is talked away', () => {
  // Lint holds the rest; what is lost when somebody switches it off is caught here.
  test.each([
    ['any', /[:<|&,(]\s*any\b(?!\s*\()/],
    ['as X', /(?<![{*,\w]\s*)(?<=[\w)\]}'] )as (?!const\b)[\w{(['"]+/],
    ['!', /[\w)\]]!(?=[.,;)\]\n[])/],
    ['<X>value', /(?:[=(,:]|return) <[A-Z]\w*>\w/],
  ])('with %s', (_, pattern) => {
    const bare = sources.map((source) => ({
      ...source,
      code: source.code.replaceAll(/^(?:import|export)\s+(?:type\s+)?[{*][^;]*?\bfrom ''/gm, ''),
    }))
    expect(findings(pattern, bare)).toEqual([])
  })

  test('nor with a comment', () => {
    const silenced = /@ts-(?:ignore|expect-error|nocheck)/
    expect(sources.filter(({ text }) => silenced.test(text)).map(({ path }) => path)).toEqual([])
  })
})

test('a file is named for a noun or a verb of the domain', () => {
  const banned = /^(?:utils?|helpers?|common|lib|types?|misc|shared|stuff)$/
  const named = sources.filter(({ path }) =>
    path.split('/').some((part) => banned.test(basename(part, '.ts').toLowerCase())),
  )
  expect(named.map(({ path }) => path)).toEqual([])
})

describe('a bound that nothing keeps is no bound', () => {
  test.each([
    ['limits', Object.keys(limits)],
    ['timing', Object.keys(timing)],
  ])('%s', (name, bounds) => {
    const unused = bounds.filter(
      (bound) => !sources.some(({ code }) => new RegExp(`\\b${name}\\.${bound}\\b`).test(code)),
    )
    expect(unused).toEqual([])
  })
})

test('the code of a file is read without comments and texts, and with what a template computes', () => {
  const text = [
    `/* Date.now() */ const a = 'process' // console`,
    `const b = "fetch('x')" + \`at \${Date.now()} // no comment\``,
    String.raw`const c = text.replace(/'.*\/[/"]/g, 'x') / 2 / Math.random()`,
  ].join('\n')
  expect(codeOf(text).split('\n')).toEqual([
    ` const a = '' `,
    `const b = '' + (Date.now())`,
    `const c = text.replace(g, '') / 2 / Math.random()`,
  ])
})
