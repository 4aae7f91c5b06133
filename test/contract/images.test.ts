import { hash } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import type { CallFacts, ImageStore, PictureBytes } from '../../src/ports/images.ts'
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

  test('no job takes the place of another’s picture, and each is found', async () => {
    const output = `${uniqueName('animals')}/a`
    const first = { batch: uniqueName('batch'), key: 'a', output }
    const second = { batch: uniqueName('batch'), key: 'a', output }
    const pictures = (text: string): PictureBytes[] => [picture(`${text} 0`), picture(`${text} 1`)]
    const ofFirst = await images.save({ job: first, facts, images: pictures('first') })
    const ofSecond = await images.save({ job: second, facts, images: pictures('second') })
    const again = { ...facts, attempt: 2 }
    expect(await images.save({ job: second, facts: again, images: pictures('second') })).toEqual(ofSecond)
    expect(ofFirst.map(({ blob }) => blob)).toEqual([`${output}-0.png`, `${output}-1.png`])
    expect(new Set([...ofFirst, ...ofSecond].map(({ blob }) => blob)).size).toBe(4)
    for (const [index, image] of ofSecond.entries()) {
      expect(image.blob.startsWith(`${output}-${index}~`) && image.blob.endsWith('.png')).toBe(true)
    }
    expect(await images.find(first)).toEqual({ facts, images: ofFirst })
    expect(await images.find(second)).toEqual({ facts: again, images: ofSecond })
    const read = await images.read(ofFirst[0]!)
    expect(read?.kind === 'bytes' && new TextDecoder().decode(read.bytes)).toBe('first 0')
  })

  test('of two that come at once each keeps its own', async () => {
    const output = `${uniqueName('animals')}/a`
    const jobs = Array.from({ length: 6 }, () => ({ batch: uniqueName('batch'), key: 'a', output }))
    const saved = await Promise.all(
      jobs.map(async (job) => images.save({ job, facts, images: [picture(job.batch)] })),
    )
    expect(new Set(saved.map(([image]) => image!.blob)).size).toBe(jobs.length)
    for (const [index, job] of jobs.entries()) {
      const read = await images.read(saved[index]![0]!)
      expect(read?.kind === 'bytes' && new TextDecoder().decode(read.bytes)).toBe(job.batch)
      expect((await images.find(job))?.images).toEqual(saved[index])
    }
  })
})
