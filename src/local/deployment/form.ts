import { Busboy, type BusboyInstance } from '@fastify/busboy'

/** A multipart form, in the order in which its parts came. */
export type Form = {
  readonly fields: readonly { readonly name: string; readonly value: string }[]
  readonly files: readonly { readonly name: string; readonly bytes: Buffer }[]
}

/** Undefined when the body is no whole form. */
export async function readForm(bytes: Buffer, contentType: string | undefined): Promise<Form | undefined> {
  if (contentType === undefined || !/^multipart\/form-data\s*;/i.test(contentType)) return undefined
  const parser = parserOf(contentType)
  if (parser === undefined) return undefined
  const fields: { name: string; value: string }[] = []
  const files: { name: string; bytes: Buffer }[] = []
  return new Promise((resolve) => {
    parser.on('field', (name, value) => fields.push({ name, value }))
    parser.on('file', (name, stream) => {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => files.push({ name, bytes: Buffer.concat(chunks) }))
      // A part without its end: the parser itself says so too.
      stream.on('error', () => {})
    })
    parser.on('finish', () => resolve({ fields, files }))
    parser.on('error', () => resolve(undefined))
    parser.end(bytes)
  })
}

/** Longer than any prompt, so that a prompt that is too long is told as such. */
const fieldBytesMax = 1_048_576

/** Undefined where the content type names no boundary. */
function parserOf(contentType: string): BusboyInstance | undefined {
  try {
    return new Busboy({
      headers: { 'content-type': contentType },
      limits: { fieldSize: fieldBytesMax, parts: 100 },
    })
  } catch (cause) {
    if (cause instanceof Error) return undefined
    throw cause
  }
}
