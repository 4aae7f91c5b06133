import { describe, expect, test } from 'vitest'
import { importsOf, roomOf, sources } from './sources.ts'

/** What a room may import beside itself. `types` gives nothing at run time. */
type Doors = { readonly rooms: readonly string[]; readonly types?: readonly string[] }

/** Imports point one way (design, section 9). A new folder or file directly below src needs a row of its own. */
const doors: Readonly<Record<string, Doors>> = {
  core: { rooms: [] },
  ports: { rooms: ['core'] },
  settings: { rooms: ['core'] },
  pipeline: { rooms: ['core', 'ports'] },
  storage: { rooms: ['core', 'ports'], types: ['settings'] },
  model: { rooms: ['core', 'ports'], types: ['settings'] },
  outbound: { rooms: ['core', 'ports'], types: ['settings'] },
  log: { rooms: ['core', 'ports'] },
  app: { rooms: ['core', 'ports', 'settings', 'pipeline', 'storage', 'model', 'outbound', 'log'] },
  // The settings' error is answered with what the settings lack; the settings themselves stay with app.
  http: { rooms: ['core', 'ports', 'pipeline', 'app', 'settings'] },
  // Triggers are named after the queues that storage has, and read its messages.
  functions: { rooms: ['core', 'ports', 'pipeline', 'storage', 'log', 'app', 'http'] },
  cli: { rooms: ['core'] },
  web: { rooms: ['core'] },
  local: { rooms: ['core', 'settings', 'storage'], types: ['ports', 'pipeline'] },
}

test('every room has its row', () => {
  const rooms = new Set(sources.map(({ room }) => room))
  expect([...rooms].filter((room) => !(room in doors))).toEqual([])
})

test('imports go only where the table of rooms lets them', () => {
  const wrong = sources.flatMap(({ path, room, imports }) =>
    imports
      .filter((each) => each.path !== undefined && !each.path.startsWith('..'))
      .filter((each) => {
        const to = roomOf(each.path ?? '')
        const { rooms = [], types = [] } = doors[room] ?? {}
        return to !== room && !rooms.includes(to) && !(each.isTypeOnly && types.includes(to))
      })
      .map((each) => `${path} imports ${each.isTypeOnly ? 'types of ' : ''}${each.path}`),
  )
  expect(wrong).toEqual([])
})

/**
 * What a folder within a room may import of the room's other folders, and of what lies beside them. Files that lie beside
 * the folders are the room's common ground: they import no folder, but where it is said.
 */
const folders: Readonly<Record<string, readonly string[]>> = {
  core: [],
  'core/requests': ['core'],
  'core/jobs': ['core', 'core/requests'],
  'core/budget': ['core', 'core/requests', 'core/jobs'],
  'core/costs': ['core', 'core/requests', 'core/jobs'],
  'core/batches': ['core', 'core/requests', 'core/jobs', 'core/budget', 'core/costs'],
  pipeline: [],
  'pipeline/pacing': ['pipeline'],
  'pipeline/intake': ['pipeline', 'pipeline/pacing'],
  'pipeline/webhooks': ['pipeline', 'pipeline/pacing', 'pipeline/intake'],
  'pipeline/jobs': ['pipeline', 'pipeline/pacing', 'pipeline/intake', 'pipeline/webhooks'],
  'pipeline/status': ['pipeline', 'pipeline/pacing', 'pipeline/intake'],
  'pipeline/batches': [
    'pipeline',
    'pipeline/pacing',
    'pipeline/intake',
    'pipeline/webhooks',
    'pipeline/jobs',
    'pipeline/status',
  ],
  'pipeline/running': [
    'pipeline',
    'pipeline/pacing',
    'pipeline/intake',
    'pipeline/webhooks',
    'pipeline/jobs',
    'pipeline/status',
    'pipeline/batches',
  ],
  // The routes lead to what they answer.
  http: ['http/body', 'http/api', 'http/api/batches', 'http/api/files'],
  'http/body': ['http'],
  'http/api': ['http', 'http/body'],
  'http/api/files': ['http', 'http/body', 'http/api'],
  'http/api/batches': ['http', 'http/body', 'http/api'],
  storage: [],
  'storage/tables': ['storage'],
  'storage/blobs': ['storage', 'storage/tables'],
}

const folderOf = (path: string): string => path.split('/').slice(0, -1).join('/')

test('every folder within a room of several has its row', () => {
  const rooms = new Set(Object.keys(folders).map(roomOf))
  const there = new Set(sources.filter(({ room }) => rooms.has(room)).map(({ path }) => folderOf(path)))
  expect([...there].filter((folder) => !(folder in folders))).toEqual([])
})

test('imports within a room go only where the table of folders lets them', () => {
  const wrong = sources.flatMap(({ path, room, imports }) => {
    const from = folderOf(path)
    return imports
      .filter((each) => each.path !== undefined && roomOf(each.path) === room && from in folders)
      .filter((each) => folderOf(each.path ?? '') !== from)
      .filter((each) => folders[from]?.includes(folderOf(each.path ?? '')) !== true)
      .map((each) => `${path} imports ${each.path}`)
  })
  expect(wrong).toEqual([])
})

test('nothing outside src is imported, but the build by the local start', () => {
  const outside = sources.flatMap(({ path, imports }) =>
    imports
      .filter((each) => each.path?.startsWith('..'))
      .map((each) => `${path} imports ${each.path}`)
      .filter((line) => !/^local\/[\w-]+\.ts imports \.\.\/build\.ts$/.test(line)),
  )
  expect(outside).toEqual([])
})

test('imports make no cycle, not even of types', () => {
  const graph = new Map(
    sources.map(({ path, imports }) => [path, imports.flatMap((each) => each.path ?? [])]),
  )
  expect(cycleIn(graph)).toBeUndefined()
})

test('everything that is imported is there', () => {
  const paths = new Set(sources.map(({ path }) => path))
  const lost = sources.flatMap(({ path, imports }) =>
    imports
      .filter((each) => each.path?.endsWith('.ts') === true && !each.path.startsWith('..'))
      .filter((each) => !paths.has(each.path ?? ''))
      .map((each) => `${path} imports ${each.path}`),
  )
  expect(lost).toEqual([])
})

describe('packages stay in their rooms', () => {
  test.each([
    [/^@azure\/(?:storage-\w+|data-tables)$/, /^(?:storage|local)\/|^app\.ts$/],
    [/^@azure\/identity$/, /^(?:storage|model|local)\/|^app\.ts$/],
    [/^@azure\/functions$/, /^(?:functions|http|local)\//],
    [/^openai$/, /^model\/|^app\.ts$/],
  ])('%s', (name, home) => {
    const users = sources.filter(({ imports }) => imports.some(({ from }) => name.test(from)))
    expect(users.filter(({ path }) => !home.test(path)).map(({ path }) => path)).toEqual([])
  })

  test('core takes only what is pure, and the pipeline one package more', () => {
    const pure = [
      'zod',
      'tinyqueue',
      '@noble/hashes/sha2.js',
      '@noble/hashes/utils.js',
      'ipaddr.js',
      'image-size',
    ]
    // Runs promises, some at a time: the pipeline waits, core does not.
    const ofPipeline = [...pure, 'p-map']
    const packages = sources
      .filter(({ room }) => ['core', 'ports', 'pipeline'].includes(room))
      .flatMap(({ path, room, imports }) => imports.map(({ from }) => ({ path, room, from })))
      .filter(
        ({ from, room }) =>
          !from.startsWith('.') && !(room === 'pipeline' ? ofPipeline : pure).includes(from),
      )
    expect(packages).toEqual([])
  })

  test('only `app` is taken by name from @azure/functions: other names fail at run time', () => {
    const clauses = sources.flatMap(({ path, imports }) =>
      imports
        .filter(({ from, isTypeOnly }) => from === '@azure/functions' && !isTypeOnly)
        .map(({ clause }) => ({ path, clause: clause.replace(/\s+/g, ' ') })),
    )
    const wrong = clauses.filter(({ clause }) => !/^\{ app(?:, type \w+(?: as \w+)?)*,? \}$/.test(clause))
    expect(wrong).toEqual([])
  })
})

test('what an import is, is read from its text', () => {
  const text = [
    `import { a, type B } from './b.ts'`,
    `import type { C } from '../c.ts'`,
    `import {\n  type D,\n  type E,\n} from 'd'`,
    `import 'run'`,
    `export * from './e.ts'`,
    `const f = await import('./f.ts')`,
    `// import { x } from './x.ts'`,
  ].join('\n')
  expect(
    importsOf('room/file.ts', text).map(({ from, path, isTypeOnly }) => [from, path, isTypeOnly]),
  ).toEqual([
    ['./b.ts', 'room/b.ts', false],
    ['../c.ts', 'c.ts', true],
    ['d', undefined, true],
    ['./e.ts', 'room/e.ts', false],
    ['run', undefined, false],
    ['./f.ts', 'room/f.ts', false],
  ])
  expect(
    cycleIn(
      new Map([
        ['a', ['b']],
        ['b', ['c', 'd']],
        ['c', []],
        ['d', ['b']],
      ]),
    ),
  ).toEqual(['b', 'd', 'b'])
})

/** The files of a cycle, in order; undefined when there is none. */
function cycleIn(graph: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  const done = new Set<string>()
  const walk = (path: string, way: readonly string[]): readonly string[] | undefined => {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path]
    if (done.has(path)) return undefined
    for (const next of graph.get(path) ?? []) {
      const cycle = walk(next, [...way, path])
      if (cycle !== undefined) return cycle
    }
    done.add(path)
    return undefined
  }
  for (const path of graph.keys()) {
    const cycle = walk(path, [])
    if (cycle !== undefined) return cycle
  }
  return undefined
}
