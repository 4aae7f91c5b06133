import { describe, expect, test } from 'vitest'
import { readBatchLine } from '../../../src/core/batches/batch-line.ts'
import { profileOfDeployment } from '../../../src/core/requests/profiles.ts'
import { submissionParser } from '../../../src/core/requests/submission-parser.ts'
import { decodeBase64 } from '../../../src/model/base64.ts'

const parse = submissionParser({
  decodeBase64,
  pools: [{ pool: 'default', profile: profileOfDeployment('gpt-image-1'), names: ['studio'] }],
})
const url = '/v1/images/generations'
const read = (value: unknown) =>
  readBatchLine(typeof value === 'string' ? value : JSON.stringify(value), { parse, endpoint: url })

describe('a line of a batch file', () => {
  test('is read once: a long one must not stop what else goes on', () => {
    const sources: unknown[] = []
    const noted: typeof parse = (source, form) => {
      sources.push(source)
      return parse(source, form)
    }
    const line = { custom_id: 'a', method: 'POST', url, body: { prompt: 'a fox' } }
    expect(readBatchLine(JSON.stringify(line), { parse: noted, endpoint: url }).kind).toBe('job')
    expect(sources).toEqual([{ json: line }])
  })

  test('is a job', () => {
    const line = { custom_id: 'a', method: 'POST', url, body: { model: 'studio', prompt: 'a fox' } }
    expect(read(line)).toMatchObject({
      kind: 'job',
      submission: { customId: 'a', pool: 'default', request: { prompt: 'a fox' } },
    })
    expect(read({ ...line, priority: 'high', metadata: { a: '1' } })).toMatchObject({
      submission: { priority: 'high', metadata: { a: '1' } },
    })
  })

  test.each([
    ['{"a', 'invalid_json_line', null],
    ['"a fox"', 'invalid_json_line', null],
    [{ custom_id: 'a', prompt: 'a fox' }, 'invalid_request', 'body'],
    [{ custom_id: 'a', method: 'POST', url, body: { prompt: 'x' }, batch: 'b' }, 'invalid_request', 'batch'],
    [
      { custom_id: 'a', method: 'POST', url: '/v1/images/edits', body: { prompt: 'x' } },
      'url_mismatch',
      'url',
    ],
    [
      { custom_id: 'a', method: 'POST', url, body: { prompt: 'x', model: 'y' } },
      'model_not_found',
      'body.model',
    ],
    [{ custom_id: 'a', method: 'PUT', url, body: { prompt: 'x' } }, 'invalid_request', 'method'],
    [{ custom_id: 'a', method: 'POST', url, body: {} }, 'invalid_request', 'body.prompt'],
    [{ method: 'POST', url, body: { prompt: 'x' } }, 'invalid_request', 'custom_id'],
  ])('%j: %s', (line, code, param) => {
    const found = read(line)
    expect(found).toMatchObject({ kind: 'fault', fault: { code, param } })
    expect(found.kind === 'fault' && found.fault.message).not.toContain('a fox')
  })
})
