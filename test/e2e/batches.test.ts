import { hash } from 'node:crypto'
import { parse } from 'csv-parse/sync'
import OpenAI, { APIError, BadRequestError, ConflictError, NotFoundError, toFile } from 'openai'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { fromBuffer, type Entry, type ZipFile } from 'yauzl'
import { run, type Running } from './running.ts'

let room: Running
let client: OpenAI

beforeAll(async () => {
  room = await run({ rpm: 600, settings: { REFUSAL_SHARE: '1', MAX_ATTEMPTS: '1' } })
  client = new OpenAI({ baseURL: `${room.instances[0]!.url}/v1`, apiKey: 'x', maxRetries: 0 })
})

afterAll(async () => {
  await room.stop()
})

const endpoint = '/v1/images/generations' as const

function line(customId: string, prompt: string): string {
  return JSON.stringify({
    custom_id: customId,
    method: 'POST',
    url: endpoint,
    body: { prompt, quality: 'low' },
  })
}

async function submit(lines: readonly string[], fields: object = {}): Promise<OpenAI.Batch> {
  const file = await client.files.create({
    file: await toFile(Buffer.from(lines.join('\n')), 'lines.jsonl'),
    purpose: 'batch',
  })
  const params = { input_file_id: file.id, endpoint, completion_window: '24h', ...fields } as const
  return client.batches.create(params)
}

async function ended(id: string): Promise<OpenAI.Batch> {
  return vi.waitFor(
    async () => {
      const batch = await client.batches.retrieve(id)
      expect(['completed', 'cancelled', 'failed']).toContain(batch.status)
      return batch
    },
    { timeout: 45_000, interval: 250 },
  )
}

async function bytesAt(path: string): Promise<Buffer> {
  const response = await fetch(new URL(path, room.instances[0]!.url))
  expect(response.status).toBe(200)
  return Buffer.from(await response.arrayBuffer())
}

function jsonLines(text: string): any[] {
  return text
    .trim()
    .split('\n')
    .map((each) => JSON.parse(each))
}

async function unzip(bytes: Buffer): Promise<Map<string, Buffer>> {
  const zip = await new Promise<ZipFile>((resolve, reject) =>
    fromBuffer(bytes, { lazyEntries: true }, (error, opened) => (error ? reject(error) : resolve(opened))),
  )
  const files = new Map<string, Buffer>()
  await new Promise<void>((resolve, reject) => {
    zip.on('entry', (entry: Entry) => {
      zip.openReadStream(entry, (error, stream) => {
        if (error) return reject(error)
        const chunks: Buffer[] = []
        stream.on('data', (chunk: Buffer) => chunks.push(chunk))
        stream.on('end', () => {
          files.set(entry.fileName, Buffer.concat(chunks))
          zip.readEntry()
        })
      })
    })
    zip.on('end', resolve)
    zip.on('error', reject)
    zip.readEntry()
  })
  return files
}

test('the openai package submits a batch, polls it, lists it, and reads its results', async () => {
  const created = await submit(
    [line('fox', 'A fox'), line('wolf', 'A wolf'), line('bad', 'A bad one [fault:moderation_blocked]')],
    { metadata: { shop: 'x' }, name: 'animals', output_prefix: 'animals/' },
  )
  expect(created).toMatchObject({ object: 'batch', status: 'validating', metadata: { shop: 'x' } })
  const batch = await ended(created.id)
  expect(batch).toMatchObject({
    status: 'completed',
    request_counts: { total: 3, completed: 2, failed: 1 },
    on_target: true,
  })
  for (const time of ['in_progress_at', 'finalizing_at', 'completed_at'] as const) {
    expect(batch[time]).toBeGreaterThanOrEqual(batch.created_at)
  }

  const output = jsonLines(await (await client.files.content(batch.output_file_id!)).text())
  expect(output.map(({ custom_id: id }) => id)).toEqual(['fox', 'wolf'])
  const { url } = output[0].response.body.data[0]
  const picture = await bytesAt(url)
  expect(picture.subarray(1, 4).toString()).toBe('PNG')
  const [errors] = jsonLines(await (await client.files.content(batch.error_file_id!)).text())
  expect(errors).toMatchObject({
    custom_id: 'bad',
    response: { status_code: 400, body: { error: { code: 'moderation_blocked' } } },
  })

  const inlined = jsonLines(
    (await bytesAt(`/v1/files/${batch.output_file_id}/content?images=b64`)).toString(),
  )
  expect(inlined).toHaveLength(2)
  expect(Buffer.from(inlined[0].response.body.data[0].b64_json, 'base64').equals(picture)).toBe(true)

  const rows: any[] = parse(await bytesAt(`/v1/batches/${batch.id}/results?format=csv`), { columns: true })
  expect(rows.map((row) => [row.custom_id, row.status, row.failure_code])).toEqual([
    ['bad', 'failed', 'moderation_blocked'],
    ['fox', 'succeeded', ''],
    ['wolf', 'succeeded', ''],
  ])
  expect(rows[1].sha256).toBe(hash('sha256', picture))

  const zip = await unzip(await bytesAt(`/v1/batches/${batch.id}/results?format=zip`))
  expect([...zip.keys()]).toEqual(['manifest.csv', 'manifest.jsonl', 'images/fox-0.png', 'images/wolf-0.png'])
  expect(zip.get('images/fox-0.png')?.equals(picture)).toBe(true)
  expect(jsonLines(zip.get('manifest.jsonl')!.toString())).toHaveLength(3)

  const jobs = await room.get(`/v1/batches/${batch.id}/jobs?status=failed`)
  expect(jobs.body).toMatchObject({
    object: 'list',
    has_more: false,
    data: [{ custom_id: 'bad', status: 'failed' }],
  })
  const found = await room.get(`/v1/batches/${batch.id}/jobs?custom_id=wolf`)
  expect(found.body.data).toMatchObject([{ id: `${batch.id}.wolf`, custom_id: 'wolf' }])

  const blobs: string[] = []
  for await (const { name } of room.container('images').listBlobsFlat({ prefix: 'animals/' }))
    blobs.push(name)
  expect(blobs).toEqual(['animals/fox-0.png', 'animals/wolf-0.png'])
})

test('results come while it runs; what failed is asked for again', async () => {
  const created = await submit([
    line('once', 'Fails once [fault:500:x1]'),
    ...Array.from({ length: 60 }, (_, index) => line(`n${index}`, `Number ${index}`)),
  ])
  const part = await vi.waitFor(
    async () => {
      const lines = jsonLines((await bytesAt(`/v1/batches/${created.id}/results?part=output`)).toString())
      expect(lines.length).toBeGreaterThan(2)
      return lines
    },
    { timeout: 20_000, interval: 200 },
  )
  expect(part.length).toBeLessThan(61)
  const batch = await ended(created.id)
  expect(batch.request_counts).toEqual({ total: 61, completed: 60, failed: 1 })
  const retried = await room.post(`/v1/batches/${batch.id}/retry`, { kinds: ['transient'] })
  expect(retried.body).toMatchObject({ retried: 1, is_all: true, batch: { status: 'in_progress' } })
  const again = await ended(batch.id)
  expect(again.request_counts).toEqual({ total: 61, completed: 61, failed: 0 })
  expect(again.error_file_id).toBeUndefined()
})

test('a faulty file fails its batch, line by line', async () => {
  const created = await submit([line('a', 'A'), '{', line('a', 'B')])
  const batch = await ended(created.id)
  expect(batch).toMatchObject({
    status: 'failed',
    errors: {
      object: 'list',
      data: [
        { line: 2, code: 'invalid_json_line' },
        { line: 3, code: 'duplicate_custom_id', param: 'custom_id' },
      ],
    },
  })
})

test('it pages through batches, cancels one, and raises its own error classes', async () => {
  const created = await submit(Array.from({ length: 400 }, (_, index) => line(`c${index}`, `C ${index}`)))
  await vi.waitFor(async () => {
    expect((await client.batches.retrieve(created.id)).status).toBe('in_progress')
  })
  expect((await client.batches.cancel(created.id)).status).toMatch(/^cancell/)
  const batch = await ended(created.id)
  expect(batch.status).toBe('cancelled')
  // One that was named by its jobs stands among them.
  await room.post('/v1/jobs', { prompt: 'A boat', batch: 'boats', custom_id: 'b1' })
  const ids: string[] = []
  for await (const each of client.batches.list({ limit: 2 })) ids.push(each.id)
  expect(ids).not.toContain('boats')
  const all = await room.get('/v1/batches?kind=all&limit=1')
  expect(all.body.data).toMatchObject([{ id: 'boats', input_file_id: '' }])
  expect(ids[0]).toBe(created.id)
  expect(new Set(ids).size).toBe(ids.length)

  await expect(
    client.batches.cancel((await ended((await submit([line('x', 'X')])).id)).id),
  ).rejects.toBeInstanceOf(ConflictError)
  await expect(client.batches.retrieve('batch_none')).rejects.toBeInstanceOf(NotFoundError)
  const params = { input_file_id: 'file-none', endpoint, completion_window: '24h' } as const
  const refused = await client.batches.create(params).catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(BadRequestError)
  expect(refused instanceof APIError && refused.param).toBe('input_file_id')
})
