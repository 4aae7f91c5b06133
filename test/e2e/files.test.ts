import { createReadStream } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI, { BadRequestError, NotFoundError, toFile } from 'openai'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { run, type Running } from './running.ts'

const bodyBytesMax = 12 * 1024 * 1024
/** More than one block, and more than sockets hold. */
const large = Buffer.alloc(10 * 1024 * 1024, 'a line of a batch file\n')

let room: Running
let client: OpenAI
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'files-'))
  room = await run({ rpm: 60, settings: { FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: String(bodyBytesMax) } })
  client = new OpenAI({ baseURL: `${room.instances[0]!.url}/v1`, apiKey: 'x', maxRetries: 0 })
})

afterAll(async () => {
  await room.stop()
  await rm(folder, { recursive: true })
})

async function blobs(): Promise<readonly string[]> {
  const names: string[] = []
  for await (const { name } of room.container('files').listBlobsFlat({ includeUncommitedBlobs: true }))
    names.push(name)
  return names
}

test('the openai package uploads, lists, retrieves, downloads and deletes', async () => {
  const path = join(folder, 'lines.jsonl')
  await writeFile(path, large)
  const ids: string[] = []
  const uploads = [
    { file: createReadStream(path), purpose: 'batch' },
    { purpose: 'batch', file: await toFile(Buffer.from('{"a":1}\n'), '行 "1".jsonl') },
    {
      file: await toFile(Buffer.from('png'), 'a.png', { type: 'image/png' }),
      purpose: 'vision',
      expires_after: { anchor: 'created_at', seconds: 3_600 },
    },
  ] as const
  for (const upload of uploads) ids.push((await client.files.create(upload)).id)
  const [first = '', second = '', third = ''] = ids

  expect(await client.files.retrieve(first)).toMatchObject({
    object: 'file',
    bytes: large.length,
    filename: 'lines.jsonl',
    purpose: 'batch',
    status: 'processed',
  })
  const { created_at: createdAt, expires_at: expiresAt } = await client.files.retrieve(third)
  expect(expiresAt! - createdAt).toBe(3_600)

  const listed: string[] = []
  for await (const { id } of client.files.list({ limit: 1 })) listed.push(id)
  expect(listed).toEqual([third, second, first])
  expect((await client.files.list({ purpose: 'vision', order: 'asc' })).data.map(({ id }) => id)).toEqual([
    third,
  ])

  const content = await client.files.content(first)
  expect(content.headers.get('content-type')).toBe('application/jsonl')
  expect(content.headers.get('content-length')).toBe(String(large.length))
  expect(Buffer.from(await content.arrayBuffer()).equals(large)).toBe(true)
  expect(await (await client.files.content(second)).text()).toBe('{"a":1}\n')
  const part = await client.files.content(first, { headers: { range: 'bytes=5000000-5000022' } })
  expect([part.status, await part.text()]).toEqual([206, large.subarray(5_000_000, 5_000_023).toString()])

  for (const id of ids) expect(await client.files.delete(id)).toEqual({ id, object: 'file', deleted: true })
  await expect(client.files.retrieve(first)).rejects.toBeInstanceOf(NotFoundError)
  await expect(client.files.content(first)).rejects.toBeInstanceOf(NotFoundError)
  expect(await blobs()).toEqual([])
})

test('faults are the error classes of the openai package', async () => {
  const file = await toFile(Buffer.from('x'), 'x.jsonl')
  const fault = await client.files.create({ file, purpose: 'fine-tune' }).catch((error: unknown) => error)
  expect(fault).toBeInstanceOf(BadRequestError)
  expect(fault).toMatchObject({
    param: 'purpose',
    code: 'invalid_value',
    requestID: expect.any(String) as unknown,
  })
  expect(await blobs()).toEqual([])
})

describe('an upload that is too long for the host is an empty 500 of the host’s, as recorded', () => {
  const form = () => {
    const body = new FormData()
    body.append('purpose', 'batch')
    body.append('file', new File([new Uint8Array(bodyBytesMax)], 'x.jsonl'))
    return new Response(body)
  }

  test('told by its length', async () => {
    const { headers, body } = form()
    const bytes = await new Response(body).arrayBuffer()
    const answer = await fetch(`${client.baseURL}/files`, { method: 'POST', headers, body: bytes })
    expect([answer.status, await answer.text()]).toEqual([500, ''])
  })

  test('found out while it comes, and nothing is kept', async () => {
    const { headers, body } = form()
    const answer = await fetch(`${client.baseURL}/files`, { method: 'POST', headers, body, duplex: 'half' })
    expect([answer.status, await answer.text()]).toEqual([500, ''])
    await vi.waitUntil(async () => (await blobs()).length === 0, { timeout: 10_000, interval: 100 })
  })
})

test('a client that leaves in the middle leaves nothing', async () => {
  const upload = request(`${client.baseURL}/files`, {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=xx' },
  })
  upload.on('error', () => {})
  upload.write('--xx\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n')
  upload.write('--xx\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n')
  upload.write(large)
  await vi.waitUntil(async () => (await blobs()).length === 1, { timeout: 10_000, interval: 100 })
  upload.destroy()
  await vi.waitUntil(async () => (await blobs()).length === 0, { timeout: 10_000, interval: 100 })
  expect((await client.files.list()).data).toEqual([])
})

test('a form that ends too early is a 400', async () => {
  const answer = await fetch(`${client.baseURL}/files`, {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=xx' },
    body: '--xx\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\nhalf',
  })
  expect(answer.status).toBe(400)
  expect(await answer.json()).toMatchObject({ error: { code: 'invalid_multipart' } })
  expect(await blobs()).toEqual([])
})
