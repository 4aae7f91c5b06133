import { randomUUID } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { BlobClient, BlobServiceClient, BlockBlobClient } from '@azure/storage-blob'
import { afterEach, expect, inject, test, vi } from 'vitest'
import { azureFileContents, fileContainer } from '../../../src/storage/blobs/file-contents.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** Broken off when a block is already there. */
async function* breakingOff(): AsyncIterable<Uint8Array> {
  yield Buffer.alloc(5 * 1024 * 1024)
  throw new Error('the sender has left')
}

test.each(['before the empty blob', 'after it'])(
  'who writes a file while another one gives it up, %s that drops its blocks, keeps it',
  async (moment) => {
    const blobs = BlobServiceClient.fromConnectionString(inject('azurite'))
    const container = blobs.getContainerClient(fileContainer)
    await container.createIfNotExists()
    const id = `file-${randomUUID()}`
    const contents = azureFileContents(blobs)
    // oxlint-disable-next-line typescript/unbound-method -- called on the client that it is mocked for
    const { commitBlockList, upload } = BlockBlobClient.prototype
    // oxlint-disable-next-line typescript/unbound-method -- as above
    const { deleteIfExists } = BlobClient.prototype
    const other = async (): Promise<unknown> => upload.call(container.getBlockBlobClient(id), 'whole', 5)
    let interfered = 0
    vi.spyOn(BlockBlobClient.prototype, 'commitBlockList').mockImplementationOnce(async function (
      this: any,
      ...args
    ) {
      if (moment === 'before the empty blob') interfered += Number((await other()) !== undefined)
      return commitBlockList.apply(this, args)
    })
    vi.spyOn(BlobClient.prototype, 'deleteIfExists').mockImplementationOnce(async function (
      this: any,
      ...args
    ) {
      if (moment === 'after it') interfered += Number((await other()) !== undefined)
      return deleteIfExists.apply(this, args)
    })
    const failing = contents.write({ id, content: breakingOff(), sizeBytesMax: 1e9 })
    await expect(failing).rejects.toThrow('the sender has left')
    expect(interfered).toBe(1)
    const kept = await contents.read(id)
    expect(kept && (await buffer(kept)).toString()).toBe('whole')
  },
)

test('blocks of a file that nobody wrote are dropped, also one that is slow to come', async () => {
  const blobs = BlobServiceClient.fromConnectionString(inject('azurite'))
  const container = blobs.getContainerClient(fileContainer)
  await container.createIfNotExists()
  const id = `file-${randomUUID()}`
  // oxlint-disable-next-line typescript/unbound-method -- called on the client that it is mocked for
  const { stageBlock } = BlockBlobClient.prototype
  let staged = 0
  vi.spyOn(BlockBlobClient.prototype, 'stageBlock').mockImplementationOnce(async function (
    this: any,
    ...args
  ) {
    for (let turn = 0; turn < 5; turn += 1) await container.exists()
    staged += 1
    return stageBlock.apply(this, args)
  })
  const failing = azureFileContents(blobs).write({ id, content: breakingOff(), sizeBytesMax: 1e9 })
  await expect(failing).rejects.toThrow('the sender has left')
  expect(staged).toBe(1)
  const left: string[] = []
  for await (const { name } of container.listBlobsFlat({ prefix: id, includeUncommitedBlobs: true }))
    left.push(name)
  expect(left).toEqual([])
})
