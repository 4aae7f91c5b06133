import { describe, expect, test } from 'vitest'
import { readHostPatterns } from '../../../src/core/destination.ts'
import type { AskedRef } from '../../../src/core/requests/input-ref.ts'
import { limits } from '../../../src/core/limits.ts'
import { profileNamed } from '../../../src/core/requests/profiles.ts'
import { isSameRequest, type AskedRequest, type ImageRequest } from '../../../src/core/requests/submission.ts'
import type { SubmissionFault } from '../../../src/core/requests/submission-fault.ts'
import { submissionParser } from '../../../src/core/requests/submission-parser.ts'
import { decodeBase64 } from '../../../src/model/base64.ts'

const parse = parserFor('gpt-image-1')
const edit = { prompt: 'a hat on the fox' }
const cat: AskedRef = { kind: 'blob', name: 'cat.png' }
const file: AskedRef = { kind: 'file', id: 'file-a' }

describe('a job with an image is an edit', () => {
  test.each<[object, readonly AskedRef[], AskedRef | null]>([
    [{ image: 'cat.png' }, [cat], null],
    [{ image: ['cat.png', 'file-a'] }, [cat, file], null],
    [{ image: 'file-a', mask: 'cat.png' }, [file], cat],
    [{ images: [{ file_id: 'file-a' }], mask: { file_id: 'file-a' } }, [file], file],
    [
      { images: [{ image_url: 'https://img.example.com/a' }, { image_url: 'data:image/png;base64,AAEC' }] },
      [
        { kind: 'url', url: 'https://img.example.com/a' },
        { kind: 'data', bytes: new Uint8Array([0, 1, 2]) },
      ],
      null,
    ],
  ])('%j', (fields, images, mask) => {
    const expected: AskedRequest = { ...edit, inputs: { images, mask } }
    expect(requestOf({ ...edit, ...fields })).toEqual(expected)
    expect(requestOf({ method: 'POST', url: '/v1/images/edits', body: { ...edit, ...fields } })).toEqual(
      expected,
    )
  })

  test('of sixteen at the most', () => {
    const image = Array<string>(limits.inputImagesMax).fill('cat.png')
    expect(requestOf({ ...edit, image }).inputs?.images).toHaveLength(16)
    const wanted = 'allowed: an array of 1 to 16 images'
    expect(faultOf({ ...edit, image: [...image, 'cat.png'] }).message).toBe(
      `image: got "17 of them"; ${wanted}`,
    )
    expect(faultOf({ ...edit, images: [] }).message).toBe(`images: got "0 of them"; ${wanted}`)
    expect(faultOf({ ...edit, images: 'cat.png' }).message).toBe(`images: got "cat.png"; ${wanted}`)
  })

  test('and may say how true to it the picture is to be, where the model lets it', () => {
    const faithful = { ...edit, image: 'cat.png', input_fidelity: 'high' }
    expect(requestOf(faithful).input_fidelity).toBe('high')
    expect(faultOf({ ...faithful, input_fidelity: 'higher' }).message).toBe(
      'input_fidelity: got "higher"; allowed: low, high',
    )
    for (const model of ['gpt-image-1-mini', 'gpt-image-2', 'gpt-image-2.5-flare']) {
      expect(faultOf(faithful, parserFor(model)).message).toBe(
        'input_fidelity: got "high"; allowed: none: the model decides it by itself',
      )
    }
  })
})

describe('a fault names the field', () => {
  test.each<[object, string, string]>([
    [{ image: '../images/a.png' }, 'image', 'got "../images/a.png"; allowed: a file id, the name of a blob'],
    [{ image: 5 }, 'image', 'got 5; allowed: a file id'],
    [{ image: ['cat.png', ''] }, 'image.1', 'got ""; allowed: a file id'],
    [{ image: ['cat.png', {}] }, 'image.1', 'got an object; allowed: an object with either a file_id'],
    [{ images: [{ file_id: 'x' }] }, 'images.0', 'got an object; allowed: an object with either a file_id'],
    [{ image: 'cat.png', mask: ['cat.png'] }, 'mask', 'got an array; allowed: a file id'],
    [
      { image: 'https://evil.example.com/a?sig=secret' },
      'image',
      'got "https://evil.example.com/a"; allowed: https addresses at the hosts of the setting INPUT_HOSTS (img.example.com); this one is not at a host that this service may ask',
    ],
    [
      { image: 'cat.png', images: [{ file_id: 'file-a' }] },
      'images',
      'got an array; allowed: images, or image in its place',
    ],
    [{ mask: 'cat.png' }, 'mask', 'got no image beside it; allowed: only beside image'],
    [{ input_fidelity: 'low' }, 'input_fidelity', 'got no image beside it; allowed: only beside image'],
    [
      { image: Array.from({ length: 16 }, () => `https://img.example.com/${'a'.repeat(2_000)}`) },
      'image',
      `got an array; allowed: references of at most ${limits.inputRefsCharsMax} characters together`,
    ],
  ])('%j', (fields, param, message) => {
    const fault = faultOf({ ...edit, ...fields })
    expect(fault).toMatchObject({ param, code: 'invalid_value' })
    expect(fault.message).toContain(`${param}: ${message}`)
    const inLine = faultOf({ method: 'POST', url: '/v1/images/edits', body: { ...edit, ...fields } })
    expect(inLine.param).toBe(`body.${param}`)
  })

  test('of a line whose url asks for something else', () => {
    const line = { method: 'POST', url: '/v1/images/generations', body: { ...edit, image: 'cat.png' } }
    expect(faultOf(line)).toEqual({
      param: 'url',
      code: 'invalid_value',
      message:
        'url: got "/v1/images/generations"; allowed: /v1/images/edits for a body with images to start from',
    })
    expect(faultOf({ ...line, url: '/v1/images/edits', body: edit })).toEqual({
      param: 'body.image',
      code: 'missing_required_parameter',
      message:
        'body.image: it is missing; allowed: 1 to 16 images to start from; without any, the url /v1/images/generations',
    })
  })
})

test('two edits are the same when they start from the same', () => {
  const inputs = { images: [{ kind: 'blob', name: 'cat.png' }], mask: null } as const
  const one: ImageRequest = { ...edit, inputs }
  expect(isSameRequest(one, { ...edit, inputs: { ...inputs } })).toBe(true)
  expect(isSameRequest(one, edit)).toBe(false)
  expect(isSameRequest(edit, one)).toBe(false)
  expect(isSameRequest(one, { ...edit, inputs: { ...inputs, mask: inputs.images[0] } })).toBe(false)
})

function parserFor(model: string) {
  const profile = profileNamed(model)
  const hosts = readHostPatterns('img.example.com')
  if (profile === undefined || hosts.kind !== 'patterns') throw new Error('no such model, or host')
  return submissionParser({
    pools: [{ pool: 'pool', profile, names: [] }],
    inputHosts: hosts.patterns,
    decodeBase64,
  })
}

function requestOf(message: object, parser = parse): AskedRequest {
  const parsed = parser(JSON.stringify(message))
  if (parsed.kind === 'invalid') throw new Error(parsed.fault.message)
  return parsed.submission.request
}

function faultOf(message: object, parser = parse): SubmissionFault {
  const parsed = parser(JSON.stringify(message))
  if (parsed.kind === 'valid') throw new Error('it is valid')
  return parsed.fault
}
