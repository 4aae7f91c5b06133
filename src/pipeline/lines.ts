/** A line of a file, without its end; `number` counts from 1, blank lines too. */
export type Line = {
  readonly number: number
  /** Undefined: it is longer than the bound, or no UTF-8. */
  readonly text: string | undefined
}

/**
 * The lines of a file as its bytes come, blank ones left out. A byte order mark at its start, CRLF ends and a missing
 * last newline are all the same to it. Holds one line at a time, and makes it text as it comes: that of a long one at
 * once would keep the event loop busy.
 */
export async function* linesOf(
  content: AsyncIterable<Uint8Array>,
  { lineBytesMax }: { readonly lineBytesMax: number },
): AsyncGenerator<Line> {
  let decoder = newDecoder()
  let text: string | undefined = ''
  let sizeBytes = 0
  let number = 0

  function take(): Line | undefined {
    number += 1
    const whole = text
    text = ''
    sizeBytes = 0
    if (whole === undefined) return { number, text: undefined }
    const plain = number === 1 && whole.startsWith('\uFEFF') ? whole.slice(1) : whole
    // A CR before the newline is a blank to JSON.
    return plain.trim() === '' ? undefined : { number, text: plain }
  }

  for await (const chunk of content) {
    let from = 0
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      add(chunk.subarray(from, end), true)
      from = end + 1
      const line = take()
      if (line !== undefined) yield line
    }
    if (from < chunk.length) add(chunk.subarray(from), false)
  }
  if (sizeBytes === 0) return
  add(new Uint8Array(), true)
  const last = take()
  if (last !== undefined) yield last

  function add(part: Uint8Array, isEnd: boolean): void {
    sizeBytes += part.length
    if (text === undefined) return
    const more = sizeBytes > lineBytesMax ? undefined : decoded(decoder, part, isEnd)
    text = more === undefined ? undefined : text + more
    // It may hold half a character.
    if (more === undefined) decoder = newDecoder()
  }
}

const newline = 0x0a

type Decoder = InstanceType<typeof TextDecoder>

function newDecoder(): Decoder {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
}

function decoded(decoder: Decoder, part: Uint8Array, isEnd: boolean): string | undefined {
  try {
    return decoder.decode(part, { stream: !isEnd })
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}
