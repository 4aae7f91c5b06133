import { hash } from 'node:crypto'
import { BlobServiceClient } from '@azure/storage-blob'
import { imageSize } from 'image-size'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { dataUrl, png } from '../support/png.ts'
import { run, type Running } from './running.ts'

let room: Running

const fox = png({ width: 128, height: 96 })
const mask = png({ width: 128, height: 96, colourType: 4 })
const sha256 = (bytes: Buffer): string => hash('sha256', bytes)

beforeAll(async () => {
  room = await run({ rpm: 600 })
  const inputs = BlobServiceClient.fromConnectionString(room.connectionString).getContainerClient('inputs')
  // Whoever is first makes it.
  await inputs.createIfNotExists()
  await inputs.getBlockBlobClient('animals/fox.png').uploadData(fox)
  await inputs.getBlockBlobClient('animals/hat mask.png').uploadData(mask)
  await inputs.getBlockBlobClient('small.png').uploadData(png({ width: 64, height: 96 }))
})

afterAll(async () => {
  await room.stop()
})

async function finished(id: string): Promise<any> {
  return vi.waitUntil(
    async () => {
      const { status, body } = await room.get(`/v1/jobs/${id}`)
      return status === 200 && body.finished_at !== null ? body : undefined
    },
    { timeout: 50_000, interval: 200 },
  )
}

async function send(message: object): Promise<void> {
  await room.queue('image-jobs').sendMessage(JSON.stringify(message))
}

function requestsFor(prompt: string) {
  return room.deployment.log().filter((request) => request.prompt === prompt)
}

it('an edit with a mask by blob name goes through the queue, and comes out as an image', async () => {
  const prompt = 'a straw hat on the fox'
  await send({
    prompt,
    image: 'animals/fox.png',
    mask: 'animals/hat mask.png',
    input_fidelity: 'high',
    size: '1024x1536',
    batch: 'edits',
    custom_id: 'hat',
  })
  const job = await finished('edits.hat')
  expect(job).toMatchObject({
    status: 'succeeded',
    request: { prompt, image: ['animals/fox.png'], mask: 'animals/hat mask.png', input_fidelity: 'high' },
    attempts: 1,
    usage: { input_tokens_details: { image_tokens: 2 * 323 } },
  })
  expect(requestsFor(prompt)).toMatchObject([
    { status: 200, inputSha256: [sha256(fox), sha256(mask)], requestId: job.request_ids[0] },
  ])
  const image = await room.get(new URL(job.images[0].url).pathname)
  expect(imageSize(image.body)).toMatchObject({ type: 'png', width: 1024, height: 1536 })
})

it('an edit by data URL goes through POST /v1/jobs, as large as a photograph is', async () => {
  const prompt = 'the fox, larger'
  const large = Buffer.concat([fox, Buffer.alloc(5 * 1024 * 1024, 7)])
  const body = {
    prompt,
    image: [dataUrl(large), 'animals/fox.png'],
    mask: dataUrl(mask),
    batch: 'edits',
    custom_id: 'own',
  }
  const taken = await room.post('/v1/jobs', body)
  expect(taken.status).toBe(202)
  expect(taken.body.request.image[0]).toMatch(/^~kept\/edits\/own-in-0-[0-9a-f]{32}$/)
  expect(await finished('edits.own')).toMatchObject({ status: 'succeeded' })
  expect(requestsFor(prompt).map(({ inputSha256 }) => inputSha256)).toEqual([
    [sha256(large), sha256(fox), sha256(mask)],
  ])
  expect((await room.post('/v1/jobs', body)).headers.get('idempotent-replayed')).toBe('true')
  const other = await room.post('/v1/jobs', { ...body, image: dataUrl(mask) })
  expect(other.status).toBe(409)
})

it('a line of a batch file in the words of OpenAI is an edit too', async () => {
  const prompt = 'a line with a fox'
  const body = { prompt, images: [{ image_url: dataUrl(fox) }] }
  await send({ custom_id: 'line', method: 'POST', url: '/v1/images/edits', batch: 'edits', body })
  expect(await finished('edits.line')).toMatchObject({ status: 'succeeded' })
  expect(requestsFor(prompt)[0]?.inputSha256).toEqual([sha256(fox)])
})

it('a mask of another size fails before any request is sent', async () => {
  const prompt = 'a mask that does not fit'
  const edit = { prompt, image: 'animals/fox.png', mask: 'small.png', batch: 'faulty' }
  await send({ ...edit, custom_id: 'queue' })
  const { status, body } = await room.post('/v1/jobs', { ...edit, custom_id: 'http' })
  const message = 'mask: got 64x96; allowed: 128x96, the size of the first image'
  expect({ status, error: body.error }).toMatchObject({
    status: 400,
    error: { param: 'mask', code: 'invalid_mask', message },
  })
  const { jobs } = await vi.waitUntil(
    async () => {
      const { body: counted } = await room.get('/v1/batches/faulty')
      return counted.counts?.failed === 1 ? { jobs: counted.counts } : undefined
    },
    { timeout: 30_000, interval: 200 },
  )
  expect(jobs).toMatchObject({ total: 1, failed: 1 })
  expect(requestsFor(prompt)).toEqual([])
})
