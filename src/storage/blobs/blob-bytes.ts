import type { BlobClient } from '@azure/storage-blob'
import type { ByteRange } from '../../ports/files.ts'

/** How often a download that breaks off is taken up again where it was. */
const readTriesMax = 3

/**
 * The blob's bytes as they come, all of them or a part. Asked for only when somebody reads: a download that nobody does
 * would hold its connection.
 */
export async function* bytesOf(blob: BlobClient, range?: ByteRange): AsyncIterable<Uint8Array> {
  const { from = 0, before } = range ?? {}
  const count = before === undefined ? undefined : before - from
  if (count === 0) return
  const { readableStreamBody = [] } = await blob.download(from, count, { maxRetryRequests: readTriesMax })
  for await (const chunk of readableStreamBody) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk
}
