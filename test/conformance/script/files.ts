import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { NotFoundError, toFile, type OpenAI } from 'openai'
import { lineOf } from './batch-work.ts'
import type { Place } from './place.ts'
import { fox } from './samples.ts'
import { faultOf } from './seen.ts'

export async function files({ client, model }: Place): Promise<unknown> {
  const bytes = Buffer.from(lineOf('/v1/images/generations', ['one', { model, prompt: 'A boat' }]))
  const file = await client.files.create({
    file: await toFile(bytes, 'lines.jsonl'),
    purpose: 'batch',
    expires_after: { anchor: 'created_at', seconds: 3_600 },
  })
  strictEqual(file.expires_at, file.created_at + 3_600)
  deepStrictEqual(await client.files.retrieve(file.id), file)
  const content = await client.files.content(file.id)
  ok(Buffer.from(await content.arrayBuffer()).equals(bytes), 'the content is not what was sent')
  const deleted = await client.files.delete(file.id)
  strictEqual(deleted.id, file.id)
  const { object, filename, purpose, status, bytes: sizeBytes } = file
  return {
    file: { object, filename, purpose, status, sizeBytes },
    deleted: deleted.deleted,
    after: (await faultOf(client.files.retrieve(file.id), NotFoundError)).status,
    contentAfter: (await faultOf(client.files.content(file.id), NotFoundError)).status,
  }
}

export async function fileList({ client, model }: Place): Promise<unknown> {
  const line = Buffer.from(
    lineOf('/v1/images/edits', ['one', { model, prompt: 'A hat', images: [{ file_id: 'file-1' }] }]),
  )
  const created: OpenAI.FileObject[] = []
  for (const purpose of ['vision', 'batch', 'vision'] as const) {
    const file = await toFile(purpose === 'batch' ? line : fox, `${purpose}-file`)
    created.push(await client.files.create({ file, purpose }))
  }
  const ids = created.map(({ id }) => id)
  const newestFirst: string[] = []
  for await (const { id } of client.files.list({ limit: 1 })) newestFirst.push(id)
  deepStrictEqual(newestFirst, ids.toReversed())
  const oldestFirst: string[] = []
  for await (const { id } of client.files.list({ limit: 2, order: 'asc', purpose: 'vision' }))
    oldestFirst.push(id)
  deepStrictEqual(oldestFirst, [ids[0], ids[2]])
  const page = await client.files.list({ limit: 2 })
  for (const id of ids) await client.files.delete(id)
  return {
    pageHas: page.data.length,
    hasMore: page.hasNextPage(),
    left: (await client.files.list()).data.length,
  }
}
