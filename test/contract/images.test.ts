import { hash } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import type { CallFacts, ImageStore, PictureBytes } from '../../src/ports.ts'
import { stores, uniqueName } from './stores.ts'

const facts: CallFacts = {
  attempt: 1,
  usage: { inputTokens: 50, outputTokens: 4_160, inputTextTokens: 50, inputImageTokens: 0 },
  requestId: 'request-1',
  finishedAt: Date.UTC(2026, 0, 5, 12) + 0.25,
}

function picture(text: string, extension = '.png'): PictureBytes {
  const contentType = extension === '.png' ? 'image/png' : 'image/jpeg'
  return { bytes: new TextEncoder().encode(text), contentType, extension, width: 1024, height: 1536 }
}

describe.each(stores)('images in $name', ({ makeImages }) => {
  let images: ImageStore
  beforeAll(async () => {
    images = await makeImages()
  })

  test('are saved under names of their job, and read back', async () => {
    const job = { batch: uniqueName('batch'), key: 'line-1' }
    const saved = await images.save({ job, facts, images: [picture('one'), picture('two')] })
    expect(saved).toEqual(
      ['one', 'two'].map((text, index) => ({
        blob: `${job.batch}/line-1-${index}.png`,
        contentType: 'image/png',
        sizeBytes: 3,
        width: 1024,
        height: 1536,
        sha256: hash('sha256', text),
      })),
    )
    const content = await images.read(saved[1]!)
    expect(content).toEqual({ kind: 'bytes', bytes: expect.anything() as unknown })
    expect(content?.kind === 'bytes' && new TextDecoder().decode(content.bytes)).toBe('two')
    expect(await images.read({ ...saved[0]!, blob: `${job.batch}/none.png` })).toBeUndefined()
    const pieces: Uint8Array[] = []
    for await (const piece of (await images.open(saved[0]!))!) pieces.push(piece)
    expect(Buffer.concat(pieces).toString()).toBe('one')
    expect(await images.open({ ...saved[0]!, blob: `${job.batch}/none.png` })).toBeUndefined()
  })

  test('what a call has left is found with its facts', async () => {
    const job = { batch: uniqueName('batch'), key: 'msg~1' }
    expect(await images.find(job)).toBeUndefined()
    const saved = await images.save({ job, facts, images: [picture('one', '.jpg'), picture('two', '.jpg')] })
    expect(await images.find(job)).toEqual({ facts, images: saved })
    const unnamed = { batch: job.batch, key: 'msg~2' }
    await images.save({ job: unnamed, facts: { ...facts, requestId: undefined }, images: [picture('x')] })
    expect((await images.find(unnamed))?.facts).toEqual({ ...facts, requestId: undefined })
  })

  test('the newer of two calls is found, if all of its pictures are there', async () => {
    const job = { batch: uniqueName('batch'), key: 'line-1' }
    await images.save({ job, facts, images: [picture('one'), picture('two')] })
    const second = { ...facts, attempt: 2, requestId: 'request-2' }
    const saved = await images.save({ job, facts: second, images: [picture('three'), picture('four')] })
    expect(await images.find(job)).toEqual({ facts: second, images: saved })
    // A third call died between its two pictures: what is there is of two calls.
    await images.save({ job, facts: { ...facts, attempt: 3 }, images: [picture('five')] })
    expect((await images.find(job))?.facts.attempt).toBe(3)
  })

  test("another job's pictures are not found, however alike the keys", async () => {
    const batch = uniqueName('batch')
    for (const key of ['a-0.b', 'a-0', 'a-0.', 'aa', 'a-1.png']) {
      await images.save({ job: { batch, key }, facts, images: [picture(key)] })
    }
    expect(await images.find({ batch, key: 'a' })).toBeUndefined()
    const own = await images.save({ job: { batch, key: 'a' }, facts, images: [picture('own')] })
    expect(await images.find({ batch, key: 'a' })).toEqual({ facts, images: own })
  })
})
