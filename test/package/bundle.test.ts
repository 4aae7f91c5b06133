import { beforeAll, describe, expect, test } from 'vitest'
import { bundleFunctions, fileOf, onDemand, type BundledFile } from '../../bundle.ts'

let first: BundledFile
let others: readonly BundledFile[]

beforeAll(async () => {
  const [file, ...rest] = await bundleFunctions()
  if (file === undefined) throw new Error('the bundle has no file')
  first = file
  others = rest
})

/**
 * A cold start is paid by each instance, so what makes it longer is to be seen: who adds a package here has measured
 * `npm run bench -- --only=cold`.
 */
describe('what a cold start loads', () => {
  test('is these packages, those of our own dependencies first', () => {
    const direct = [
      '@azure/data-tables',
      '@azure/functions',
      '@azure/storage-blob',
      '@azure/storage-queue',
      '@fastify/busboy',
      '@noble/hashes',
      'client-zip',
      'content-disposition',
      'csv-stringify',
      'image-size',
      'ipaddr.js',
      'p-map',
      'standardwebhooks',
      'tinyqueue',
      'zod',
    ]
    const theirs = [
      '@azure-rest/core-client',
      '@azure/abort-controller',
      '@azure/core-auth',
      '@azure/core-client',
      '@azure/core-http-compat',
      '@azure/core-lro',
      '@azure/core-rest-pipeline',
      '@azure/core-tracing',
      '@azure/core-util',
      '@azure/core-xml',
      '@azure/functions-extensions-base',
      '@azure/logger',
      '@azure/storage-common',
      '@nodable/entities',
      '@stablelib/base64',
      '@typespec/ts-http-runtime',
      'agent-base',
      'anynum',
      'cookie',
      'debug',
      'fast-sha256',
      'fast-xml-builder',
      'fast-xml-parser',
      'has-flag',
      'http-proxy-agent',
      'https-proxy-agent',
      'is-unsafe',
      'ms',
      'path-expression-matcher',
      'strnum',
      'supports-color',
      'xml-naming',
    ]
    expect(first.packages).toEqual(['src', ...direct, ...theirs].toSorted())
  })

  // 1.80 MB when it was set. V8 reads all of it before the first line runs.
  test('is at most 2 MB', () => {
    expect(first.contents.length).toBeLessThan(2_000_000)
  })

  test('is of zod no language but English: esbuild takes all forty where it cannot tell what is used', () => {
    const languages = first.modules.filter((path) => path.startsWith('node_modules/zod/v4/locales/'))
    expect(languages).toEqual(['node_modules/zod/v4/locales/en.js'])
  })
})

describe('the files beside it', () => {
  test('are the packages that are loaded on demand, and the first file asks for each', () => {
    expect(others.map(({ name }) => name)).toEqual(onDemand.map(fileOf))
    for (const [index, { packages }] of others.entries()) expect(packages).toContain(onDemand[index])
    const asked = onDemand.map((name) => `./${fileOf(name)}`)
    expect(first.asksFor).toEqual([...asked, '@azure/functions-core'].toSorted())
  })

  test('ask for nothing but Node’s own modules', () => {
    expect(others.flatMap(({ asksFor }) => asksFor)).toEqual([])
  })

  test('have none of our own code, which would be there twice', () => {
    expect(others.filter(({ packages }) => packages.includes('src'))).toEqual([])
  })
})
