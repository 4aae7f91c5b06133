/** A list in pieces of `countMax` items; the last may be shorter. */
export function piecesOf<T>(items: readonly T[], countMax: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / countMax) }, (_, index) =>
    items.slice(index * countMax, (index + 1) * countMax),
  )
}

/** What comes, in pieces: each is passed on as soon as its size is reached, the last when nothing more comes. */
export async function* gathered<T>(
  items: AsyncIterable<T>,
  /** Without `sizeOf` it is a number of items. */
  { size, sizeOf = () => 1 }: { readonly size: number; readonly sizeOf?: (item: T) => number },
): AsyncGenerator<readonly T[]> {
  let piece: T[] = []
  let got = 0
  for await (const item of items) {
    piece.push(item)
    got += sizeOf(item)
    if (got < size) continue
    yield piece
    piece = []
    got = 0
  }
  if (got > 0) yield piece
}
