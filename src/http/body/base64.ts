/** The content in base64 as it comes: it is never held whole. */
export async function* base64Of(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  // Three bytes make four characters: what is left over goes with the next piece.
  let rest = Buffer.alloc(0)
  for await (const chunk of content) {
    const bytes = Buffer.concat([rest, chunk])
    const whole = bytes.length - (bytes.length % 3)
    yield Buffer.from(bytes.toString('base64', 0, whole))
    rest = bytes.subarray(whole)
  }
  yield Buffer.from(rest.toString('base64'))
}
