import { z } from 'zod'
import { parseJobId } from '../../core/jobs/keys.ts'
import { limits } from '../../core/limits.ts'
import type { Context } from '../../pipeline/context.ts'
import { linesOf } from '../../pipeline/lines.ts'
import { base64Of } from '../body/base64.ts'

const lineSchema = z.looseObject({
  response: z.looseObject({
    body: z.looseObject({ data: z.array(z.looseObject({ url: z.string() })).min(1) }),
  }),
})

/** Lines of results with the images themselves, in base64, in place of their addresses; an image is never held whole. */
export async function* withImages(
  context: Context,
  lines: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const { text = '' } of linesOf(lines, { lineBytesMax: limits.batchLineBytesMax })) {
    const parsed = lineSchema.safeParse(JSON.parse(text))
    if (!parsed.success) {
      yield Buffer.from(`${text}\n`)
      continue
    }
    const { response, ...line } = parsed.data
    const { body, ...rest } = response
    const { data, ...facts } = body
    // A mark that no text of the line can hold: JSON escapes control characters.
    const marked = { ...line, response: { ...rest, body: { ...facts, data: data.map((_, k) => mark(k)) } } }
    const pieces = JSON.stringify(marked).split(/"\\u0000\d+"/)
    for (const [k, piece] of pieces.entries()) {
      yield Buffer.from(piece)
      const url = data[k]?.url
      if (url !== undefined) yield* imageJson(context, url)
    }
    yield Buffer.from('\n')
  }
}

function mark(k: number): string {
  return `\u0000${k}`
}

/** `{"b64_json":"…"}`, or the address again where the image is gone. */
async function* imageJson(context: Context, url: string): AsyncGenerator<Uint8Array> {
  const content = await open(context, url)
  if (content === undefined) {
    yield Buffer.from(JSON.stringify({ url }))
    return
  }
  yield Buffer.from('{"b64_json":"')
  yield* base64Of(content)
  yield Buffer.from('"}')
}

async function open(context: Context, url: string): Promise<AsyncIterable<Uint8Array> | undefined> {
  const [, id = '', k = ''] = /\/v1\/jobs\/([^/]+)\/images\/(\d+)$/.exec(url) ?? []
  const ref = parseJobId(id)
  const stored = ref && (await context.jobs.get(ref))
  const image = stored?.job.phase.kind === 'succeeded' ? stored.job.phase.images[Number(k)] : undefined
  return image && context.images.open(image)
}
