import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { failure } from '../../../src/core/jobs/failure.ts'
import { cancelled, claimed, failed, succeeded } from '../../../src/core/jobs/transitions.ts'
import { newJob, type Job } from '../../../src/core/jobs/job.ts'
import {
  batchEvent,
  deliveryOf,
  emptyHookLog,
  jobEvent,
  logged,
  nextLookMs,
  nextTryMs,
  retryDelaysMs,
  verdictOf,
  webhookUrlFault,
  type WebhookAnswer,
} from '../../../src/core/batches/webhook.ts'

const at = Date.UTC(2026, 10, 23, 12, 0, 1, 250)
const job = newJob({
  batch: 'batch_1',
  key: 'cat',
  pool: 'pool',
  customId: 'cat',
  metadata: { secret: 'of the owner' },
  request: { prompt: 'a cat that nobody may know of' },
  priority: null,
  upperMicroUsd: 1,
  now: at - 5_000,
})
const usage = { inputTokens: 1, outputTokens: 1, inputTextTokens: 1, inputImageTokens: 0 }
const image = { blob: 'b', contentType: 'image/png', sizeBytes: 1, width: 1, height: 1, sha256: 's' }
const slotted: Job = { ...job, phase: { kind: 'slotted', slotAt: at, isReserved: false } }
const running = claimed(slotted, { slotAt: at, deployment: 'd', leaseUntil: at })!

function status(status: number, retryAfterMs: number | null = null): WebhookAnswer {
  return { kind: 'status', status, retryAfterMs }
}

describe('an event', () => {
  const end = {
    batch: 'batch_1',
    status: 'completed',
    endedAt: at,
    outputFileId: 'file-1',
    errorFileId: null,
    counts: { total: 4, succeeded: 2, failed: 1, cancelled: 1 },
  } as const

  it('of a batch has its counts and files', () => {
    const { eventId, type, body } = batchEvent(end, 'https://darkroom.example')
    expect(type).toBe('batch.completed')
    expect(JSON.parse(body)).toEqual({
      type: 'batch.completed',
      timestamp: '2026-11-23T12:00:01.250Z',
      id: eventId,
      object: 'event',
      created_at: Math.floor(at / 1_000),
      data: {
        id: 'batch_1',
        object: 'batch',
        status: 'completed',
        request_counts: { total: 4, completed: 2, failed: 1 },
        cancelled: 1,
        output_file_id: 'file-1',
        error_file_id: null,
        url: 'https://darkroom.example/v1/batches/batch_1',
      },
    })
  })

  it('is the same whenever it is told, and another for another end', () => {
    const ids = [end, { ...end }, { ...end, endedAt: at + 1 }, { ...end, status: 'failed' as const }].map(
      (each) => batchEvent(each, 'https://darkroom.example').eventId,
    )
    expect(ids[0]).toMatch(/^evt_[0-9a-f]{32}$/)
    expect(ids[1]).toBe(ids[0])
    expect(new Set(ids).size).toBe(3)
    const failed = [at, at + 1].map(
      (endedAt) => batchEvent({ ...end, status: 'failed', endedAt }, '').eventId,
    )
    expect(failed[1]).toBe(failed[0])
  })

  it('of a job has its links, and not its prompt', () => {
    const done = succeeded(running, { finishedAt: at, images: [image, image], usage, costMicroUsd: 1 })!
    const { type, body } = jobEvent(done, 'https://darkroom.example')!
    expect(type).toBe('job.succeeded')
    expect(JSON.parse(body).data).toEqual({
      id: 'batch_1.cat',
      object: 'image.job',
      batch_id: 'batch_1',
      custom_id: 'cat',
      status: 'succeeded',
      failure: null,
      url: 'https://darkroom.example/v1/jobs/batch_1.cat',
      image_urls: [0, 1].map((k) => `https://darkroom.example/v1/jobs/batch_1.cat/images/${k}`),
    })
    expect(body).not.toMatch(/nobody may know|of the owner/)
  })

  it('of a job that failed says how, and not in the model’s words', () => {
    const refused = failure('refused', 'content_policy', 'the cat that nobody may know of')
    const { type, body } = jobEvent(failed(running, { finishedAt: at, failure: refused })!, '')!
    expect(type).toBe('job.failed')
    expect(JSON.parse(body).data).toMatchObject({
      failure: { kind: 'refused', code: 'content_policy' },
      image_urls: [],
    })
    expect(body).not.toContain('the cat')
  })

  it('is there for a cancelled job, and for no unfinished one', () => {
    expect(jobEvent(cancelled(job, { finishedAt: at })!, '')?.type).toBe('job.cancelled')
    for (const each of [job, slotted, running]) expect(jobEvent(each, '')).toBeUndefined()
  })
})

describe('tries', () => {
  it('are ten in some 24 hours, the first ones soon', () => {
    expect(retryDelaysMs).toHaveLength(9)
    const total = retryDelaysMs.reduce((sum, each) => sum + each, 0)
    expect(total / 3_600_000).toBeCloseTo(24, 0)
    expect([...retryDelaysMs].sort((a, b) => a - b)).toEqual(retryDelaysMs)
    expect(nextTryMs(1, { answer: status(500), chance: 0.5 })).toBe(5_000)
    expect(nextTryMs(10, { answer: status(500), chance: 0.5 })).toBeUndefined()
  })

  it('come a tenth sooner or later by chance, later as the receiver asks, and never for ever later', () => {
    const longest = Math.max(...retryDelaysMs)
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.option(fc.integer({ min: 0, max: 1e12 })),
        (tries, chance, asked) => {
          const delay = nextTryMs(tries, { answer: status(503, asked), chance })!
          const planned = retryDelaysMs[tries - 1]!
          expect(delay).toBeGreaterThanOrEqual(planned * 0.9)
          expect(delay).toBeGreaterThanOrEqual(Math.min(asked ?? 0, longest))
          expect(delay).toBeLessThanOrEqual(Math.max(planned * 1.1, Math.min(asked ?? 0, longest)))
        },
      ),
    )
    expect(nextTryMs(1, { answer: { kind: 'failed', code: 'timeout' }, chance: 1 })).toBe(5_500)
  })

  it.each([
    [status(200), 'delivered'],
    [status(299), 'delivered'],
    [status(199), 'again'],
    [status(302), 'again'],
    [status(404), 'again'],
    [status(410), 'gone'],
    [status(500), 'again'],
    [{ kind: 'failed', code: 'timeout' }, 'again'],
    [{ kind: 'refused', why: 'is not a public one' }, 'again'],
  ] as const)('after %j: %s', (answer, verdict) => {
    expect(verdictOf(answer)).toBe(verdict)
  })

  it('at an unfinished job are few, over longer than a run keeps its result', () => {
    const looks = [1, 2, 3, 4].map((look) => nextLookMs(look) ?? 0)
    expect(looks.reduce((sum, each) => sum + each, 0)).toBeGreaterThan(10 * 60_000)
    expect(nextLookMs(5)).toBeUndefined()
  })
})

describe('what is shown of tries', () => {
  const fields = { eventId: 'evt_1', type: 'job.failed', tries: 1, nextAt: null } as const

  it('is the newest five, the newest first', () => {
    const log = [3, 1, 2, 7, 5, 6, 4].reduce(
      (before, at) => logged(before, deliveryOf(status(200), { ...fields, at })),
      emptyHookLog,
    )
    expect(log.deliveries.map(({ at }) => at)).toEqual([7, 6, 5, 4, 3])
    expect(log.isGone).toBe(false)
  })

  it('says what was answered, or what went wrong', () => {
    const shown = (answer: WebhookAnswer) => {
      const { status, fault } = deliveryOf(answer, { ...fields, at: 1 })
      return [status, fault]
    }
    expect(shown(status(503))).toEqual([503, null])
    expect(shown({ kind: 'failed', code: 'ECONNREFUSED' })).toEqual([null, 'ECONNREFUSED'])
    expect(shown({ kind: 'refused', why: 'is not a public one' })).toEqual([
      null,
      'the address is not a public one',
    ])
  })

  it('remembers that the receiver is gone', () => {
    const gone = logged(emptyHookLog, deliveryOf(status(410), { ...fields, at: 1 }))
    expect(gone.isGone).toBe(true)
    expect(logged(gone, deliveryOf(status(200), { ...fields, at: 2 })).isGone).toBe(true)
  })
})

describe('an address for a webhook', () => {
  it('is a public one by https, or one that the operator answers for', () => {
    const any = { hosts: 'any', trusted: [] } as const
    expect(webhookUrlFault('https://hooks.example.com/x?y', any)).toBeUndefined()
    expect(webhookUrlFault('http://hooks.example.com/', any)).toBe(
      'the address must begin with https://, unless the setting WEBHOOK_HOSTS names its host',
    )
    expect(webhookUrlFault('ftp://hooks.example.com/', any)).toBe('the address must begin with https://')
    const trusted = [{ name: '10.0.0.7', isSuffix: false, port: '8080' }]
    expect(webhookUrlFault('http://10.0.0.7:8080/', { ...any, trusted })).toBeUndefined()
  })
})
