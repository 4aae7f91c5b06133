import { createCanvas } from '@napi-rs/canvas'
import { describe, expect, test } from 'vitest'
import {
  inputFacts,
  inputParam,
  inputsFault,
  type InputFacts,
} from '../../../src/core/requests/input-picture.ts'
import { limits } from '../../../src/core/limits.ts'
import { png } from '../../support/png.ts'

const formats = ['png', 'jpeg']

function factsOf(bytes: Uint8Array, sizeBytes = bytes.length): InputFacts {
  return inputFacts({ bytes, sizeBytes })
}

const size = { width: 64, height: 48 }
const jpeg = createCanvas(64, 48).toBuffer('image/jpeg')
const webp = createCanvas(64, 48).toBuffer('image/webp')

describe('what the bytes of an image tell', () => {
  test.each([
    ['png with alpha', png(size), 'png', true],
    ['png in grey with alpha', png({ ...size, colourType: 4 }), 'png', true],
    ['png without', png({ ...size, colourType: 2 }), 'png', false],
    ['png in grey', png({ ...size, colourType: 0 }), 'png', false],
    ['png with a palette', png({ ...size, colourType: 3 }), 'png', false],
    [
      'png with a transparent colour',
      png({ ...size, colourType: 3, before: [['tRNS', Buffer.of(0)]] }),
      'png',
      true,
    ],
    [
      'png with text before its pixels',
      png({ ...size, colourType: 2, before: [['tEXt', Buffer.from('a\0tRNS')]] }),
      'png',
      false,
    ],
    ['jpeg', jpeg, 'jpeg', false],
    ['webp', webp, 'webp', false],
  ])('%s', (_, bytes, format, hasAlpha) => {
    expect(factsOf(bytes)).toEqual({ sizeBytes: bytes.length, picture: { format, ...size, hasAlpha } })
    // Also from within a larger buffer.
    const within = new Uint8Array([1, 2, 3, ...bytes]).subarray(3)
    expect(factsOf(within)).toEqual(factsOf(bytes))
  })

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('a fox')],
    ['a gif', Buffer.from('GIF89a\x40\x00\x30\x00')],
    ['the beginning of a png alone', png(size).subarray(0, 12)],
    ['the beginning of a jpeg alone', jpeg.subarray(0, 30)],
    ['a png without an extent', png({ width: 0, height: 0 })],
  ])('%s is no image', (_, bytes) => {
    expect(factsOf(bytes)).toEqual({ sizeBytes: bytes.length, picture: undefined })
  })

  test('is unknown while too little of it was read', () => {
    expect(factsOf(jpeg.subarray(0, 30), 5_000)).toEqual({ sizeBytes: 5_000, picture: 'unknown' })
    const opaque = png({ ...size, colourType: 2, before: [['iCCP', Buffer.alloc(500)]] })
    expect(factsOf(opaque.subarray(0, 100), 5_000).picture).toBe('unknown')
    expect(factsOf(opaque.subarray(0, 100)).picture).toBe('cut')
    expect(factsOf(png(size).subarray(0, 40), 5_000).picture).toMatchObject({ hasAlpha: true })
    expect(factsOf(png(size).subarray(0, 25), 5_000).picture).toBe('unknown')
    // What is surely no image is known at once.
    expect(factsOf(Buffer.from('a fox'), 5_000).picture).toBeUndefined()
  })
})

describe('an image that is cut off', () => {
  const thumbnail = Buffer.from([0xff, 0xe1, 0x00, 0x06, 0xff, 0xd8, 0xff, 0xd9])
  const withThumbnail = Buffer.concat([jpeg.subarray(0, 2), thumbnail, jpeg.subarray(2)])

  test.each([
    ['png', png(size)],
    ['jpeg', jpeg],
    ['jpeg with a thumbnail that has an end of its own', withThumbnail],
    ['webp', webp],
  ])('%s', (_, whole) => {
    expect(factsOf(whole).picture).toMatchObject(size)
    // What stands behind its end is nobody's business.
    expect(factsOf(Buffer.concat([whole, Buffer.from('\xd9 more', 'latin1')])).picture).toMatchObject(size)
    for (const missing of [2, 16, 30]) {
      const cut = whole.subarray(0, whole.length - missing)
      expect(factsOf(cut).picture, `${missing} bytes`).toBe('cut')
      expect(factsOf(cut, whole.length).picture).not.toBe('cut')
    }
  })

  test('before its first scan', () => {
    const scanAt = jpeg.indexOf(Buffer.from([0xff, 0xda]))
    expect(factsOf(jpeg.subarray(0, scanAt)).picture).toBe('cut')
  })

  test('a png that ends before any pixels is opaque', () => {
    const whole = png({ ...size, colourType: 2 })
    const header = whole.subarray(0, whole.indexOf('IDAT') - 4)
    const bare = Buffer.concat([header, whole.subarray(-12)])
    expect(factsOf(bare).picture).toMatchObject({ hasAlpha: false })
  })

  test('is told as such', () => {
    const cut = factsOf(png(size).subarray(0, 60))
    expect(inputsFault({ images: [cut], mask: null }, formats)).toEqual({
      param: 'image',
      code: 'invalid_image',
      message:
        'image: got an image that is cut off after 60 bytes; allowed: a whole image that is png or jpeg',
    })
    expect(inputsFault({ images: [factsOf(jpeg)], mask: cut }, formats)).toEqual({
      param: 'mask',
      code: 'invalid_mask',
      message: 'mask: got an image that is cut off after 60 bytes; allowed: a whole png',
    })
  })
})

describe('inputs of an edit', () => {
  const image = factsOf(png(size))
  const mask = factsOf(png(size))
  const unseen: InputFacts = { sizeBytes: 0, picture: 'unknown' }

  test.each<[string, readonly InputFacts[], InputFacts | null]>([
    ['one image', [image], null],
    ['sixteen, of any size', [image, factsOf(jpeg), ...Array<InputFacts>(14).fill(factsOf(png()))], null],
    ['an image and its mask', [image], mask],
    ['a mask that fits the first', [image, factsOf(png())], mask],
    ['a jpeg and its mask', [factsOf(jpeg)], mask],
    ['what nobody has seen yet', [unseen, unseen], unseen],
    ['a mask for an image that nobody has seen yet', [unseen], mask],
  ])('may be %s', (_, images, mask) => {
    expect(inputsFault({ images, mask }, formats)).toBeUndefined()
  })

  const tooLarge = { ...image, sizeBytes: limits.inputImageBytesMax + 1 }
  const half = { ...image, sizeBytes: limits.inputImageBytesMax }
  test.each<[string, readonly InputFacts[], InputFacts | null, string, string, string]>([
    [
      'webp',
      [factsOf(webp)],
      null,
      'image',
      'invalid_image',
      'got a webp; allowed: an image that is png or jpeg',
    ],
    [
      'text',
      [image, factsOf(Buffer.from('a fox'))],
      null,
      'image.1',
      'invalid_image',
      'got 5 bytes that are no image; allowed: an image that is png or jpeg',
    ],
    [
      'too large an image',
      [tooLarge],
      null,
      'image',
      'image_too_large',
      `got ${limits.inputImageBytesMax + 1} bytes; allowed: at most ${limits.inputImageBytesMax} bytes`,
    ],
    [
      'too much together',
      [half, half, half, half],
      mask,
      'image',
      'image_too_large',
      `got ${4 * limits.inputImageBytesMax + mask.sizeBytes} bytes together; allowed: at most ${limits.inputsOfJobBytesMax} bytes`,
    ],
    ['a mask that is a jpeg', [image], factsOf(jpeg), 'mask', 'invalid_mask', 'got a jpeg; allowed: a png'],
    [
      'a mask that is no image',
      [image],
      factsOf(Buffer.from('?')),
      'mask',
      'invalid_mask',
      'got 1 bytes that are no image; allowed: a png',
    ],
    [
      'a mask without alpha',
      [image],
      factsOf(png({ ...size, colourType: 2 })),
      'mask',
      'invalid_mask',
      'got a png without an alpha channel; allowed: one whose transparent areas say what is edited',
    ],
    [
      'a mask of another width',
      [image],
      factsOf(png({ width: 65, height: 48 })),
      'mask',
      'invalid_mask',
      'got 65x48; allowed: 64x48, the size of the first image',
    ],
    [
      'a mask of another height',
      [image],
      factsOf(png({ width: 64, height: 64 })),
      'mask',
      'invalid_mask',
      'got 64x64; allowed: 64x48, the size of the first image',
    ],
    [
      'too large a mask',
      [image],
      { ...mask, sizeBytes: limits.maskBytesMax },
      'mask',
      'invalid_mask',
      `got ${limits.maskBytesMax} bytes; allowed: less than ${limits.maskBytesMax} bytes`,
    ],
  ])('may not be %s', (_, images, mask, param, code, message) => {
    const fault = { param, code, message: `${param}: ${message}` }
    expect(inputsFault({ images, mask }, formats)).toEqual(fault)
  })

  test('may be webp where the model takes it', () => {
    expect(inputsFault({ images: [factsOf(webp)], mask: null }, [...formats, 'webp'])).toBeUndefined()
  })

  test('are named as they were given', () => {
    expect([inputParam(1, 0), inputParam(1, 1)]).toEqual(['image', 'mask'])
    expect([inputParam(2, 0), inputParam(2, 1), inputParam(2, 2)]).toEqual(['image.0', 'image.1', 'mask'])
  })
})
