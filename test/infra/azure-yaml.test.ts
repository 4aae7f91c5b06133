import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { rootDir } from '../architecture/sources.ts'

const read = (path: string): string => readFileSync(join(rootDir, path), 'utf8')
const linesOf = (path: string): readonly string[] => read(path).split(/\r?\n/)
const project = parse(read('azure.yaml'))

describe('azure.yaml', () => {
  test('deploys what the build stages, and has nothing built elsewhere', () => {
    expect(project.services).toEqual({
      darkroom: { project: '.', host: 'function', language: 'ts', dist: 'dist/azure', remoteBuild: false },
    })
    const { scripts } = JSON.parse(read('package.json'))
    // azd runs it by this name.
    expect(scripts.build).toBe('node build.ts')
  })

  test('names the service as the site is tagged', () => {
    expect(read('infra/modules/functions.bicep')).toContain(
      `'azd-service-name': '${Object.keys(project.services)[0]}'`,
    )
  })

  test('has hooks that are there, run without a shell, and whose words stay on the screen', () => {
    expect(Object.keys(project.hooks)).toEqual(['preprovision', 'postprovision', 'postdeploy', 'postdown'])
    for (const [name, hook] of Object.entries(project.hooks)) {
      expect(hook).toEqual({ run: `infra/hooks/${name}.js`, interactive: true })
      expect(existsSync(join(rootDir, `infra/hooks/${name}.js`))).toBe(true)
    }
    // azd of an earlier version does not run .js files, or hides what they print.
    expect(project.requiredVersions).toEqual({ azd: '>= 1.25.3' })
  })
})

describe('hooks', () => {
  test('keep azd from installing the whole project before each', () => {
    const { dependencies, devDependencies, type } = JSON.parse(read('infra/hooks/package.json'))
    expect([dependencies, devDependencies, type]).toEqual([undefined, undefined, 'module'])
    expect(read('infra/hooks/.npmrc')).toContain('package-lock=false')
  })

  test.each([
    'api-keys',
    'deployment-keys',
    'hook',
    'limits',
    'parameters',
    'postdeploy',
    'postdown',
    'postprovision',
    'preprovision',
    'service-check',
  ])('%s.js takes nothing but Node and its neighbours', (name) => {
    const text = read(`infra/hooks/${name}.js`)
    // One looks for the service's own check, and does without where its packages are not there.
    expect(/\bimport\(/.test(text)).toBe(name === 'service-check')
    const froms = [...text.matchAll(/from '([^']+)'/g)].map(([, from]) => from!)
    expect(froms.filter((from) => !/^node:|^\.\/[\w-]+\.js$/.test(from))).toEqual([])
  })
})

test("azd's environments, which hold ids and settings, are not for git", () => {
  expect(linesOf('.gitignore')).toContain('.azure/')
})

test('text ends its lines in one way, whatever system it was checked out on', () => {
  expect(linesOf('.gitattributes')).toContain('* text=auto eol=lf')
})

test('the Node that is asked for runs TypeScript by itself, and the page names its versions', () => {
  const wanted = '^22.18.0 || >=23.6.0'
  expect(JSON.parse(read('package.json')).engines).toEqual({ node: wanted })
  expect(JSON.parse(read('package-lock.json')).packages[''].engines).toEqual({ node: wanted })
  expect(read('docs/deploy.md')).toMatch(/22\.18 or later, but not\s+23\.0 to 23\.5/)
})

test('a command that gives nothing but a stack is under Trouble, and `npm ci` is the first way out', () => {
  const { devDependencies } = JSON.parse(read('package.json'))
  const entry = /^- \*\*`Unknown file extension "\.ts"`(.*?)\n(?=- )/ms.exec(read('docs/deploy.md'))?.[1]
  expect(entry).toMatch(/^[^:]*\*\*: `npm ci` was not run\./)
  // What the page says of the Node that comes along.
  expect(devDependencies.node).toMatch(/^24\./)
})
