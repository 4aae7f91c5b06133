import { createCanvas } from '@napi-rs/canvas'
import { imageSize } from 'image-size'
import type { Specs } from '../specs.ts'
import { fault, type Asked, type Part, type Told, type Upload } from './answers.ts'

/** What is not drawn. */
export const refusedByStub = 'Something that is refused'

export type StubImages = {
  readonly part: Part
  /** What the model answers to the body of a request, or of a batch's line. */
  readonly answer: (body: Record<string, unknown>) => Told
  /** Nothing is answered from then on. */
  readonly exhaust: () => void
}

/** Draws nothing: each image is as large, and of the kind, that was asked for. */
export function stubImages(specs: Specs): StubImages {
  let isExhausted = false

  function answer(body: Record<string, unknown>): Told {
    const { prompt, n = 1, size = '1024x1024', quality = 'low', output_format: format = 'png' } = body
    if (isExhausted) return fault(429, 'Rate limit reached for images per minute.')
    if (prompt === refusedByStub) return fault(400, 'Your request was rejected by the safety system.')
    if (body['response_format'] !== undefined) {
      return fault(400, "Unknown parameter: 'response_format'.", 'response_format')
    }
    const [width = 0, height = 0] = String(size).split('x').map(Number)
    const canvas = createCanvas(width, height)
    const bytes = format === 'jpeg' ? canvas.toBuffer('image/jpeg') : canvas.toBuffer('image/png')
    const image = { b64_json: bytes.toString('base64') }
    return {
      status: 200,
      json: {
        ...specs.exampleOf('ImagesResponse'),
        created: Math.floor(Date.now() / 1_000),
        data: Array.from({ length: Number(n) }, () => image),
        size,
        quality,
        output_format: format,
        background: 'opaque',
      },
    }
  }

  function edited({ form }: Asked): Told {
    const images = [...(form.get('image') ?? []), ...(form.get('image[]') ?? [])]
    const [mask] = form.get('mask') ?? []
    if (images.length === 0) return fault(400, "Missing required parameter: 'image'.", 'image')
    if (mask !== undefined && extent(mask) !== extent(images[0]!)) {
      return fault(400, 'The mask must have the size of the image.', 'mask')
    }
    const texts = [...form].filter(([, [value]]) => typeof value === 'string')
    return answer(Object.fromEntries(texts.map(([name, [value]]) => [name, value])))
  }

  return {
    answer,
    exhaust: () => {
      isExhausted = true
    },
    part(asked) {
      if (asked.path === '/images/generations') return answer(asked.json)
      return asked.path === '/images/edits' ? edited(asked) : undefined
    },
  }
}

function extent(upload: string | Upload): string {
  if (typeof upload === 'string') return 'none'
  const { width, height } = imageSize(upload.bytes)
  return `${width}x${height}`
}
