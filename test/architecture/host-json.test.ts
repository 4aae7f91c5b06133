import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { version } from '../../src/core/version.ts'

const host: { extensions: { queues: Record<string, unknown>; http: Record<string, unknown> } } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../host.json'), 'utf8'),
)

test('host.json lets an instance have as many jobs in hand as the worker believes', () => {
  const { batchSize, newBatchThreshold } = host.extensions.queues
  expect(Number(batchSize) + Number(newBatchThreshold)).toBe(limits.jobsAtOnce)
})

test('host.json takes plain JSON messages, polls often, and has no route prefix', () => {
  expect(host.extensions.queues).toMatchObject({ messageEncoding: 'none', maxPollingInterval: '00:00:02' })
  expect(host.extensions.http).toEqual({ routePrefix: '' })
})

test('the version that the service tells is that of the package', () => {
  const { version: packaged } = JSON.parse(
    readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'),
  )
  expect(version).toBe(packaged)
})
