import { createHash } from 'node:crypto'
import { request } from 'node:http'
import OpenAI, { BadRequestError, NotFoundError, toFile, APIError } from 'openai'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { run, type Running } from './running.ts'

/** More than one block, and more than sockets hold. */
const partBytes = 5 * 1024 * 1024
const filename = 'lines.jsonl'
const facts = { filename, mime_type: 'application/jsonl', purpose: 'batch' } as const

let room: Running
let client: OpenAI

beforeAll(async () => {
  room = await run({ rpm: 600 })
  client = new OpenAI({ baseURL: `${room.instances[0]!.url}/v1`, apiKey: 'x', maxRetries: 0 })
})

afterAll(async () => {
  await room.stop()
})

async function blobs(): Promise<readonly string[]> {
  const names: string[] = []
  for await (const { name } of room.container('files').listBlobsFlat({ includeUncommitedBlobs: true }))
    names.push(name)
  return names
}

async function added(upload: string, bytes: Buffer<ArrayBuffer>): Promise<string> {
  const part = await client.uploads.parts.create(upload, { data: await toFile(bytes, 'part') })
  expect([part.object, part.upload_id]).toEqual(['upload.part', upload])
  return part.id
}

/** Waits for the fault that the call is to end in. */
async function faultOf(call: Promise<unknown>): Promise<APIError> {
  const fault = await call.then(() => undefined).catch((error: unknown) => error)
  if (!(fault instanceof APIError)) throw fault ?? new Error('wanted a fault')
  return fault
}

test('the openai package uploads a file in parts side by side, and it is a file like any other', async () => {
  const bytes = Buffer.alloc(4 * partBytes + 1_234)
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(at, Math.min(at, bytes.length - 4))
  const upload = await client.uploads.create({
    ...facts,
    bytes: bytes.length,
    expires_after: { anchor: 'created_at', seconds: 3_600 },
  })
  expect(upload).toMatchObject({ object: 'upload', status: 'pending', bytes: bytes.length, filename })
  expect(upload.expires_at - upload.created_at).toBe(3_600)
  const pieces = [4, 2, 0, 3, 1].map((k) => ({
    k,
    bytes: bytes.subarray(k * partBytes, (k + 1) * partBytes),
  }))
  const parts = await Promise.all(
    pieces.map(async (piece) => ({ k: piece.k, id: await added(upload.id, piece.bytes) })),
  )
  expect((await client.files.list()).data).toEqual([])
  const ids = parts.toSorted((a, b) => a.k - b.k).map(({ id }) => id)
  const md5 = createHash('md5').update(bytes).digest('hex')
  const wrong = await faultOf(
    client.uploads.complete(upload.id, { part_ids: ids, md5: md5.replaceAll(/[a-f]/g, '0') }),
  )
  expect([wrong.status, wrong.param]).toEqual([400, 'md5'])
  const completed = await client.uploads.complete(upload.id, { part_ids: ids, md5 })
  expect(completed).toMatchObject({ id: upload.id, status: 'completed', bytes: bytes.length })
  const file = completed.file!
  expect(file).toMatchObject({ object: 'file', bytes: bytes.length, filename, purpose: 'batch' })
  expect(file.expires_at! - file.created_at).toBe(3_600)
  expect(await client.files.retrieve(file.id)).toEqual(file)
  expect((await client.files.list()).data).toEqual([file])
  expect(await client.uploads.complete(upload.id, { part_ids: ids, md5 })).toEqual(completed)
  const content = Buffer.from(await (await client.files.content(file.id)).arrayBuffer())
  expect(content.equals(bytes)).toBe(true)
  const part = await client.files.content(file.id, {
    headers: { range: `bytes=${partBytes - 2}-${partBytes + 1}` },
  })
  expect(Buffer.from(await part.arrayBuffer())).toEqual(bytes.subarray(partBytes - 2, partBytes + 2))
  expect(await client.files.delete(file.id)).toMatchObject({ deleted: true })
  await expect(client.files.content(file.id)).rejects.toBeInstanceOf(NotFoundError)
  expect(await blobs()).toEqual([])
})

test('a batch takes it as its input', async () => {
  const line = (id: string) =>
    JSON.stringify({
      custom_id: id,
      method: 'POST',
      url: '/v1/images/generations',
      body: { prompt: `a ${id}` },
    })
  const lines = Buffer.from(`${line('fox')}\n${line('owl')}\n`)
  const upload = await client.uploads.create({ ...facts, bytes: lines.length })
  // A part may end in the middle of a line.
  const ids = [await added(upload.id, lines.subarray(0, 50)), await added(upload.id, lines.subarray(50))]
  const { file } = await client.uploads.complete(upload.id, { part_ids: ids })
  const { id } = await client.batches.create({
    input_file_id: file!.id,
    endpoint: '/v1/images/generations',
    completion_window: '24h',
  })
  await vi.waitUntil(async () => (await client.batches.retrieve(id)).status === 'completed', {
    timeout: 40_000,
    interval: 250,
  })
  expect((await client.batches.retrieve(id)).request_counts).toEqual({ total: 2, completed: 2, failed: 0 })
})

test('faults are the error classes of the openai package', async () => {
  const data = await toFile(Buffer.alloc(partBytes), 'part')
  // Heard by who is still sending, and the connection may be used again.
  for (let times = 0; times < 5; times += 1) {
    const none = await faultOf(client.uploads.parts.create('upload_none', { data }))
    expect(none).toBeInstanceOf(NotFoundError)
  }
  const { id } = await client.uploads.create({ ...facts, bytes: 10 })
  const faults = [
    await faultOf(client.uploads.create({ ...facts, bytes: 209_715_201 })),
    await faultOf(client.uploads.create({ ...facts, bytes: 1, purpose: 'fine-tune' })),
    await faultOf(client.uploads.complete(id, { part_ids: ['part_none'] })),
    await faultOf(client.uploads.complete(id, { part_ids: [await added(id, Buffer.from('12345678'))] })),
  ]
  for (const fault of faults) expect(fault).toBeInstanceOf(BadRequestError)
  expect(faults.map(({ param, code }) => [param, code])).toEqual([
    ['bytes', 'file_too_large'],
    ['purpose', 'invalid_value'],
    ['part_ids', 'invalid_value'],
    ['part_ids', 'wrong_size'],
  ])
  const tooLarge = await faultOf(client.uploads.parts.create(id, { data }))
  expect([tooLarge.status, tooLarge.code]).toEqual([413, 'part_too_large'])
  expect(await client.uploads.cancel(id)).toMatchObject({ id, status: 'cancelled' })
  const closed = await faultOf(client.uploads.parts.create(id, { data }))
  expect([closed.status, closed.code]).toEqual([400, 'upload_cancelled'])
  expect((await blobs()).filter((name) => name.startsWith('upload_0'))).not.toContain(id)
})

test('a part whose client leaves in the middle is none, and may be sent again', async () => {
  const bytes = Buffer.alloc(partBytes, 'a line of a batch file\n')
  const { id } = await client.uploads.create({ ...facts, bytes: bytes.length })
  const leaving = request(`${client.baseURL}/uploads/${id}/parts`, {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=xx' },
  })
  leaving.on('error', () => {})
  leaving.write('--xx\r\nContent-Disposition: form-data; name="data"; filename="part"\r\n\r\n')
  leaving.write(bytes)
  await vi.waitUntil(async () => (await blobs()).includes(id), { timeout: 10_000, interval: 100 })
  leaving.destroy()
  const part = await added(id, bytes)
  const { file } = await client.uploads.complete(id, { part_ids: [part] })
  const content = Buffer.from(await (await client.files.content(file!.id)).arrayBuffer())
  expect(content.equals(bytes)).toBe(true)
})

test('its paths take POST, and say so', async () => {
  for (const path of ['uploads', 'uploads/upload_1/parts', 'uploads/upload_1/complete']) {
    const asked = await fetch(`${client.baseURL}/${path}`)
    expect([asked.status, asked.headers.get('allow')]).toEqual([405, 'POST, OPTIONS'])
    expect((await fetch(`${client.baseURL}/${path}`, { method: 'OPTIONS' })).status).toBe(204)
  }
})
