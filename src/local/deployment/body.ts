import type { IncomingMessage } from 'node:http'

export type ReadBody =
  | { readonly kind: 'body'; readonly bytes: Buffer }
  | { readonly kind: 'too-large' }
  /** The caller went away before all of it had come. */
  | { readonly kind: 'gone' }

/** The longest prompt, every character escaped, is about 200 kB; the other parameters are small. */
export const maxBodyBytes = 1_048_576

export async function readBody(request: IncomingMessage, maxBytes = maxBodyBytes): Promise<ReadBody> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  try {
    // Leaving the loop early must not take the connection along: the answer is still to be sent on it.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      const bytes = Buffer.from(chunk)
      sizeBytes += bytes.length
      if (sizeBytes > maxBytes) return { kind: 'too-large' }
      chunks.push(bytes)
    }
  } catch (cause) {
    if (request.destroyed) return { kind: 'gone' }
    throw cause
  }
  return { kind: 'body', bytes: Buffer.concat(chunks) }
}

/** The parsed text, or undefined when it is not JSON. */
export function readJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    if (cause instanceof SyntaxError) return undefined
    throw cause
  }
}
