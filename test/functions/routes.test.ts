import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { createFunctionApp, type FunctionApp } from '../../src/local/host/core-api.ts'
import { supplyCoreModule } from '../../src/local/host/entry.ts'
import { readHostJson } from '../../src/local/host/host-json.ts'
import { readPath } from '../../src/local/host/http/http-path.ts'
import { functionChooser, type Routed } from '../../src/local/host/http/http-route.ts'

const app: FunctionApp = createFunctionApp(() => {})
let functions: readonly Routed[]
let routePrefix: string

beforeAll(async () => {
  const release = supplyCoreModule(app.coreApi)
  await import('../../src/functions/index.ts')
  release()
  functions = [...app.functions.values()].flatMap(({ name, trigger }) =>
    trigger.kind === 'http' ? [{ name, ...trigger }] : [],
  )
  routePrefix = (await readHostJson(join(import.meta.dirname, '../..'))).routePrefix
})

/** The function that the host chooses, by its one rule: sorted by name, the first that matches path and method. */
function chosen(all: readonly Routed[], method: string, path: string): string | undefined {
  const read = readPath(path)
  return read.kind === 'read'
    ? functionChooser(all, routePrefix)(method, read.segments)?.chosen.name
    : undefined
}

/** A path that the route matches: its parameters stand for anything. */
function samplePath(route: string): string {
  return `/${route.replace('{ignored:maxlength(0)?}', '').replaceAll(/\{\*?\w+[^/]*\}/g, 'x1')}`
}

/** The functions, with a method of theirs, that do not get what they are registered for. */
function hidden(all: readonly Routed[]): readonly string[] {
  return all.flatMap(({ name, methods, route }) =>
    methods
      .map((method) => ({ method, by: chosen(all, method, samplePath(route)) }))
      .filter(({ by }) => by !== name)
      .map(({ method, by }) => `${name}: ${method} ${route} goes to ${by}`),
  )
}

describe('by the real host’s rule', () => {
  test('every function gets the requests of its own route, for each of its methods', () => {
    expect(functions.length).toBeGreaterThan(25)
    expect(hidden(functions)).toEqual([])
  })

  test('a function that is hidden by another is found', () => {
    const late = { name: 'zzz-late', methods: ['GET'], route: 'v1/late' }
    expect(hidden([...functions, late])).toEqual(['zzz-late: GET v1/late goes to zz-unrouted'])
    const early = { name: 'aa-all', methods: ['POST'], route: '{*path}' }
    expect(hidden([...functions, early]).length).toBeGreaterThan(10)
  })

  test.each([
    ['GET', '/', 'get-home'],
    ['HEAD', '/', 'get-home'],
    ['POST', '/', undefined],
    ['POST', '/v1/jobs', 'post-job'],
    ['POST', '/V1/Jobs/', 'post-job'],
    ['PUT', '/v1/jobs', 'zz-unrouted'],
    ['OPTIONS', '/v1/jobs', 'zz-unrouted'],
    ['GET', '/v1/nothing', 'zz-unrouted'],
    ['GET', '/nothing', 'zz-unrouted'],
    ['TRACE', '/v1/jobs', undefined],
    ['GET', '/admin/host/status', undefined],
    ['GET', '//v1/jobs', undefined],
  ])('%s %s goes to %s', (method, path, name) => {
    expect(chosen(functions, method, path)).toBe(name)
  })
})
