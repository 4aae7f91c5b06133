/** A line of a file, without its end; `number` counts from 1, blank lines too. */
export type Line = {
  readonly number: number
  /** Undefined: it is longer than the bound, or no UTF-8. */
  readonly text: string | undefined
}

/**
 * The lines of a file as its bytes come, blank ones left out. A byte order mark at its start, CRLF ends and a missing
 * last newline are all the same to it. Holds one line at a time.
 */
export async function* linesOf(
  content: AsyncIterable<Uint8Array>,
  { lineBytesMax }: { readonly lineBytesMax: number },
): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  let parts: Uint8Array[] = []
  let sizeBytes = 0
  let number = 0

  function take(): Line | undefined {
    number += 1
    const isTooLong = sizeBytes > lineBytesMax
    const bytes = isTooLong ? undefined : joined(parts, sizeBytes)
    parts = []
    sizeBytes = 0
    if (bytes === undefined) return { number, text: undefined }
    const text = decoded(decoder, number === 1 ? withoutMark(bytes) : bytes)
    return text?.trim() === '' ? undefined : { number, text }
  }

  for await (const chunk of content) {
    let from = 0
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      add(chunk.subarray(from, end))
      from = end + 1
      const line = take()
      if (line !== undefined) yield line
    }
    // What is left must outlive the chunk, whose memory may be used again.
    if (from < chunk.length) add(chunk.slice(from))
  }
  const last = sizeBytes === 0 ? undefined : take()
  if (last !== undefined) yield last

  function add(part: Uint8Array): void {
    sizeBytes += part.length
    if (sizeBytes <= lineBytesMax) parts.push(part)
  }
}

const newline = 0x0a
const byteOrderMark = [0xef, 0xbb, 0xbf]

function joined(parts: readonly Uint8Array[], sizeBytes: number): Uint8Array {
  const [first] = parts
  if (parts.length === 1 && first !== undefined) return first
  const all = new Uint8Array(sizeBytes)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

function withoutMark(bytes: Uint8Array): Uint8Array {
  return byteOrderMark.every((byte, index) => bytes[index] === byte) ? bytes.subarray(3) : bytes
}

/** A CR before the newline is a blank to JSON. */
function decoded(decoder: InstanceType<typeof TextDecoder>, bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}
