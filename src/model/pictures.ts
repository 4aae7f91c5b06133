import { imageSize } from 'image-size'
import { limits } from '../core/limits.ts'
import type { PictureBytes } from '../ports/images.ts'

const kinds: Readonly<Record<string, { contentType: string; extension: string } | undefined>> = {
  png: { contentType: 'image/png', extension: '.png' },
  jpg: { contentType: 'image/jpeg', extension: '.jpg' },
  webp: { contentType: 'image/webp', extension: '.webp' },
}

/**
 * The picture in a base64 text, told by its own bytes and not by what was asked for; a sentence when it is none.
 * `size`: what was asked for; `auto` may come out as anything.
 */
export function readPicture(base64: string, size: string | undefined): PictureBytes | string {
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.length === 0 || bytes.length > limits.answerImageBytesMax)
    return `an image of ${bytes.length} bytes`
  try {
    const { width, height, type = '' } = imageSize(bytes)
    const kind = kinds[type]
    if (kind === undefined) return `an image of a kind that was not asked for (${type})`
    if (width <= 0 || height <= 0) return 'an image without an extent'
    if (size !== undefined && size !== 'auto' && size !== `${width}x${height}`) {
      return `an image of ${width}x${height} where ${size} was asked for`
    }
    return { bytes, ...kind, width, height }
  } catch (error) {
    if (error instanceof Error) return `data that is no image (${error.message})`
    throw error
  }
}
