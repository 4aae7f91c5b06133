import { ok, strictEqual } from 'node:assert/strict'
import { BadRequestError, NotFoundError, toFile, type OpenAI } from 'openai'
import { lineOf } from './batch-work.ts'
import type { Place } from './place.ts'
import { faultOf } from './seen.ts'

export async function uploads(place: Place): Promise<unknown> {
  return { completed: await completed(place), cancelled: await cancelled(place) }
}

async function completed({ client, model }: Place): Promise<unknown> {
  const bytes = Buffer.from(lineOf('/v1/images/generations', ['one', { model, prompt: 'A boat' }]))
  const upload = await client.uploads.create({ ...facts, bytes: bytes.length })
  strictEqual(upload.expires_at, upload.created_at + 3_600)
  const [second, first] = await Promise.all(
    [bytes.subarray(40), bytes.subarray(0, 40)].map(async (part) => added(client, upload, part)),
  )
  const tooFew = client.uploads.complete(upload.id, { part_ids: [first!] })
  const done = await faultOf(tooFew, BadRequestError).then(async ({ status }) => ({
    tooFew: status,
    upload: await client.uploads.complete(upload.id, { part_ids: [first!, second!] }),
  }))
  strictEqual(done.upload.id, upload.id)
  const file = done.upload.file!
  ok(file.created_at >= upload.created_at, 'the file is older than its upload')
  const content = await client.files.content(file.id)
  ok(Buffer.from(await content.arrayBuffer()).equals(bytes), 'the content is not what was sent')
  const after = await faultOf(added(client, upload, bytes), BadRequestError)
  await client.files.delete(file.id)
  return {
    pending: [upload.object, upload.status, upload.purpose, upload.filename, upload.bytes],
    tooFew: done.tooFew,
    status: done.upload.status,
    file: [file.object, file.purpose, file.filename, file.bytes],
    partAfter: after.status,
  }
}

async function cancelled({ client }: Place): Promise<unknown> {
  const upload = await client.uploads.create({ ...facts, bytes: 100 })
  await added(client, upload, Buffer.from('a part'))
  const { id, object, status } = await client.uploads.cancel(upload.id)
  strictEqual(id, upload.id)
  const part = await faultOf(added(client, upload, Buffer.from('another')), BadRequestError)
  const none = await faultOf(client.uploads.complete('upload_none', { part_ids: ['part_1'] }), NotFoundError)
  return { upload: [object, status], partAfter: part.status, none: none.status }
}

const facts = { filename: 'lines.jsonl', mime_type: 'application/jsonl', purpose: 'batch' } as const

async function added(client: OpenAI, upload: OpenAI.Upload, bytes: Buffer<ArrayBuffer>): Promise<string> {
  const part = await client.uploads.parts.create(upload.id, { data: await toFile(bytes, 'part') })
  strictEqual(part.upload_id, upload.id)
  return part.id
}
