import { describe, expect, test } from 'vitest'
import type { Job } from '../../../src/core/jobs/job.ts'
import { cancelledLine, resultLine } from '../../../src/core/batches/result-line.ts'
import { image, jobIn, t0, usage } from '../sample.ts'

const origin = 'https://darkroom.example.com'

function succeededJob(fields: Partial<Job> = {}, images = [image]): Job {
  const phase = { kind: 'succeeded', finishedAt: t0 + 999, images, usage, costMicroUsd: 5 } as const
  return jobIn('succeeded', {
    batch: 'boats',
    key: 'b1',
    customId: 'b1',
    requestIds: ['r1', 'r2'],
    ...fields,
    phase,
  })
}

function failedJob(kind: 'refused' | 'invalid' | 'unknown'): Job {
  const failure = { kind, code: 'the_code', message: 'the message' }
  return jobIn('failed', {
    customId: 'b1',
    requestIds: [],
    phase: { kind: 'failed', finishedAt: t0, failure },
  })
}

describe('a line of results', () => {
  test('of a job that succeeded is the answer of the image API, with addresses', () => {
    const request = { prompt: 'a boat', background: 'opaque', quality: 'high' }
    expect(resultLine(succeededJob({ request }), origin)).toEqual({
      id: expect.stringMatching(/^batch_req_[0-9a-f]{32}$/) as unknown,
      custom_id: 'b1',
      response: {
        status_code: 200,
        request_id: 'r2',
        body: {
          created: Math.floor((t0 + 999) / 1_000),
          data: [{ url: `${origin}/v1/jobs/boats.b1/images/0` }],
          background: 'opaque',
          output_format: image.contentType.replace('image/', ''),
          size: `${image.width}x${image.height}`,
          quality: 'high',
          usage: {
            total_tokens: usage.inputTokens + usage.outputTokens,
            input_tokens: usage.inputTokens,
            output_tokens: usage.outputTokens,
            input_tokens_details: {
              text_tokens: usage.inputTextTokens,
              image_tokens: usage.inputImageTokens,
            },
          },
        },
      },
      error: null,
    })
  })

  test.each([{ prompt: 'x' }, { prompt: 'x', background: 'auto', quality: 'auto' }, null])(
    'leaves out what was left to the model: %j',
    (request) => {
      const line = JSON.stringify(resultLine(succeededJob({ request }), origin))
      expect(line).not.toContain('"background"')
      expect(line).not.toContain('"quality"')
    },
  )

  test('with a transparent background says so; without images it has none', () => {
    const request = { prompt: 'x', background: 'transparent' }
    expect(JSON.stringify(resultLine(succeededJob({ request }), origin))).toContain(
      '"background":"transparent"',
    )
    expect(resultLine(succeededJob({}, []), origin)).toMatchObject({ response: { body: { data: [] } } })
  })

  test.each(['refused', 'invalid'] as const)('of a job that was %s is the error of the image API', (kind) => {
    expect(resultLine(failedJob(kind), origin)).toMatchObject({
      response: {
        status_code: 400,
        request_id: '',
        body: { error: { code: 'the_code', message: 'the message' } },
      },
      error: null,
    })
  })

  test('of a job that failed otherwise, or was cancelled, has no response', () => {
    expect(resultLine(failedJob('unknown'), origin)).toMatchObject({
      response: null,
      error: { code: 'the_code' },
    })
    expect(resultLine(jobIn('cancelled'), origin)).toMatchObject({
      response: null,
      error: { code: 'batch_cancelled' },
    })
  })

  test.each(['waiting', 'slotted', 'running'] as const)('of a job that is %s there is none', (kind) => {
    expect(resultLine(jobIn(kind), origin)).toBeUndefined()
  })
})

test('a line that never became a job is told as cancelled, under an id of its own', () => {
  const line = cancelledLine('b', 'fox')
  expect(line).toMatchObject({ custom_id: 'fox', response: null, error: { code: 'batch_cancelled' } })
  expect(line).not.toMatchObject(cancelledLine('b', 'wolf'))
})
