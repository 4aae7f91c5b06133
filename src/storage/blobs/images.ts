import { createHash } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import {
  RestError,
  type BlobItem,
  type BlobRequestConditions,
  type BlockBlobClient,
  type ContainerClient,
} from '@azure/storage-blob'
import { z } from 'zod'
import type { Image } from '../../core/jobs/job.ts'
import { imageBlobNames, imageBlobStems, jobId } from '../../core/jobs/keys.ts'
import type { Clock } from '../../ports/clock.ts'
import type { ImageStore, ImageOwner } from '../../ports/images.ts'
import { compareAndSet, overtaken } from '../compare-and-set.ts'
import type { StorageConnection } from '../connection.ts'
import { bytesOf } from './blob-bytes.ts'
import { blobLinks } from './blob-links.ts'

export const imageContainer = 'images'

/** Pictures in the container `images`; the facts of their call are in each blob's metadata. */
export function azureImageStore(connection: StorageConnection, clock: Pick<Clock, 'now'>): ImageStore {
  const container = connection.blobs.getContainerClient(imageContainer)
  const link = blobLinks(connection, clock)

  return {
    async save({ job, facts, images }) {
      return Promise.all(
        images.map(async ({ bytes, contentType, extension, width, height }, index): Promise<Image> => {
          const properties = {
            contentType,
            sizeBytes: bytes.length,
            width,
            height,
            sha256: createHash('sha256').update(bytes).digest('hex'),
          }
          for (const blob of imageBlobNames(job, index, extension)) {
            const image: Image = { blob, ...properties }
            const darkroom = JSON.stringify({
              ...facts,
              job: jobId(job),
              requestId: facts.requestId ?? null,
              count: images.length,
              image,
            })
            if (await put(container.getBlockBlobClient(blob), { job, bytes, contentType, darkroom })) {
              return image
            }
          }
          throw new Error(`both names of image ${index} of job ${jobId(job)} are another's`)
        }),
      )
    },

    async find(job) {
      const left = await listLeft(container, job)
      const [first] = left
      if (first === undefined) return undefined
      const ofOneCall = left.filter(({ attempt }) => attempt === first.attempt)
      if (ofOneCall.length !== first.count) return undefined
      const { attempt, usage, requestId, finishedAt } = first
      return {
        facts: { attempt, usage, requestId: requestId ?? undefined, finishedAt },
        images: ofOneCall.map(({ image }) => image),
      }
    },

    async open(image) {
      const blob = container.getBlobClient(image.blob)
      return (await blob.exists()) ? bytesOf(blob) : undefined
    },

    async read(image) {
      const client = container.getBlobClient(image.blob)
      const { blob, contentType } = image
      if (link !== undefined) {
        return { kind: 'link', url: await link({ container: imageContainer, blob, contentType }) }
      }
      try {
        const { readableStreamBody } = await client.download()
        return readableStreamBody && { kind: 'bytes', bytes: await buffer(readableStreamBody) }
      } catch (error) {
        if (error instanceof RestError && error.statusCode === 404) return undefined
        throw error
      }
    },
  }
}

const factsSchema = z.object({
  job: z.string(),
  attempt: z.number(),
  count: z.number(),
  requestId: z.string().nullable(),
  finishedAt: z.number(),
  usage: z.object({
    inputTokens: z.number(),
    outputTokens: z.number(),
    inputTextTokens: z.number(),
    inputImageTokens: z.number(),
  }),
  image: z.object({
    blob: z.string(),
    contentType: z.string(),
    sizeBytes: z.number(),
    width: z.number(),
    height: z.number(),
    sha256: z.string(),
  }),
})

/** Writes the blob where there is none, or one of an earlier attempt of the same job; false where it is another's. */
async function put(
  client: BlockBlobClient,
  {
    job,
    bytes,
    contentType,
    darkroom,
  }: { job: ImageOwner; bytes: Uint8Array; contentType: string; darkroom: string },
): Promise<boolean> {
  let conditions: BlobRequestConditions = { ifNoneMatch: '*' }
  return compareAndSet(`image ${client.name}`, async () => {
    try {
      await client.upload(bytes, bytes.length, {
        conditions,
        blobHTTPHeaders: {
          blobContentType: contentType,
          blobCacheControl: 'private, max-age=31536000, immutable',
        },
        metadata: { darkroom },
      })
      return true
    } catch (error) {
      // 409: one is there; 412: another than the one that was looked at.
      if (!(error instanceof RestError) || (error.statusCode !== 409 && error.statusCode !== 412)) throw error
    }
    const there = await look(client)
    if (there === undefined) conditions = { ifNoneMatch: '*' }
    else if (there.job !== jobId(job)) return false
    else conditions = { ifMatch: there.etag }
    return overtaken
  })
}

/** Whose the blob is, as it stands; undefined when it is gone. */
async function look(
  client: BlockBlobClient,
): Promise<{ readonly job: string | undefined; readonly etag: string } | undefined> {
  try {
    const { metadata, etag = '' } = await client.getProperties()
    return { job: factsSchema.safeParse(parseMetadata({ metadata })).data?.job, etag }
  } catch (error) {
    if (error instanceof RestError && error.statusCode === 404) return undefined
    throw error
  }
}

/** The job's pictures in their order. The newest call comes first where two have left some of each. */
async function listLeft(
  container: ContainerClient,
  job: ImageOwner,
): Promise<readonly z.infer<typeof factsSchema>[]> {
  const found: z.infer<typeof factsSchema>[] = []
  for (let index = 0; ; index += 1) {
    const { first, other } = imageBlobStems(job, index)
    const ofIndex = await Promise.all([listBelow(container, job, first), listBelow(container, job, other)])
    if (ofIndex.every((each) => each.length === 0)) break
    found.push(...ofIndex.flat())
  }
  return found.sort((a, b) => b.attempt - a.attempt)
}

async function listBelow(
  container: ContainerClient,
  job: ImageOwner,
  prefix: string,
): Promise<readonly z.infer<typeof factsSchema>[]> {
  const found: z.infer<typeof factsSchema>[] = []
  const blobs: AsyncIterable<BlobItem> = container.listBlobsFlat({ prefix, includeMetadata: true })
  for await (const blob of blobs) {
    const facts = factsSchema.safeParse(parseMetadata(blob))
    if (
      facts.success &&
      facts.data.job === jobId(job) &&
      facts.data.image.blob === blob.name &&
      !blob.name.slice(prefix.length).includes('.')
    )
      found.push(facts.data)
  }
  return found
}

function parseMetadata({ metadata }: { metadata?: Record<string, string> | undefined }): unknown {
  const text = metadata?.['darkroom']
  return text === undefined ? undefined : JSON.parse(text)
}
