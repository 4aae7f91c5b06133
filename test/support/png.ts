import { crc32, deflateSync } from 'node:zlib'

/** Colour types of PNG: grey, red-green-blue, palette, grey with alpha, red-green-blue with alpha. */
type ColourType = 0 | 2 | 3 | 4 | 6

const samples = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 } as const

/** A whole PNG in one colour, its alpha, if it has one, half. `before`: chunks between its header and its pixels. */
export function png({
  width = 64,
  height = 64,
  colourType = 6,
  before = [],
}: {
  readonly width?: number
  readonly height?: number
  readonly colourType?: ColourType
  readonly before?: readonly (readonly [kind: string, bytes: Buffer])[]
} = {}): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, colourType, 0, 0, 0], 8)
  // Each line begins with the number of its filter.
  const line = Buffer.concat([Buffer.from([0]), Buffer.alloc(width * samples[colourType], 0x80)])
  const palette: readonly (readonly [string, Buffer])[] =
    colourType === 3 ? [['PLTE', Buffer.alloc(256 * 3, 7)]] : []
  const pixels = deflateSync(Buffer.concat(Array.from({ length: height }, () => line)))
  const chunks: readonly (readonly [string, Buffer])[] = [
    ['IHDR', header],
    ...palette,
    ...before,
    ['IDAT', pixels],
    ['IEND', Buffer.alloc(0)],
  ]
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
  return Buffer.concat([signature, ...chunks.map(([kind, bytes]) => chunk(kind, bytes))])
}

function chunk(kind: string, bytes: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(kind), bytes])
  const size = Buffer.alloc(4)
  size.writeUInt32BE(bytes.length)
  const sum = Buffer.alloc(4)
  sum.writeUInt32BE(crc32(body))
  return Buffer.concat([size, body, sum])
}

export function dataUrl(bytes: Buffer, type = 'image/png'): string {
  return `data:${type};base64,${bytes.toString('base64')}`
}
