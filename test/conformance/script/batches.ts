import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { toFile, type OpenAI } from 'openai'
import { ended, joined, lineOf, polled, results, submit, tag } from './batch-work.ts'
import type { Place } from './place.ts'
import { fox, jpeg, mask } from './samples.ts'

export async function finishedBatches(place: Place): Promise<unknown> {
  const [generated, edited] = await Promise.all([generations(place), edits(place)])
  return { generated, edited }
}

async function generations({ client, model, refusedPrompt }: Place): Promise<unknown> {
  const lines = [
    ['fox', { model, prompt: 'A red fox', quality: 'low', size: '1024x1536' }],
    ['wolves', { model, prompt: 'Two grey wolves', n: 2, ...jpeg }],
    ['bad', { model, prompt: refusedPrompt, quality: 'low' }],
  ] as const
  const created = await submit(client, '/v1/images/generations', lines, {
    metadata: { shop: 'toys', night: '7' },
    output_expires_after: { anchor: 'created_at', seconds: 86_400 },
  })
  strictEqual(created.status, 'validating')
  const batch = await ended(client, created.id, 'completed')
  ok(batch.created_at <= batch.in_progress_at!, 'in_progress_at is before created_at')
  ok(batch.in_progress_at! <= batch.finalizing_at!, 'finalizing_at is before in_progress_at')
  ok(batch.finalizing_at! <= batch.completed_at!, 'completed_at is before finalizing_at')
  strictEqual(batch.usage!.total_tokens, batch.usage!.input_tokens + batch.usage!.output_tokens)
  const file = await client.files.retrieve(batch.output_file_id!)
  ok(file.expires_at! >= file.created_at + 86_400, 'the output expires sooner than was asked for')
  const { object, completion_window: window, request_counts: counts, metadata } = batch
  return {
    batch: { object, window, counts: { ...counts }, metadata: { ...metadata } },
    ...(await results(client, batch)),
    outputFile: [file.object, file.purpose, file.bytes > 0],
  }
}

async function edits({ client, model }: Place): Promise<unknown> {
  const upload = async (bytes: Buffer, name: string): Promise<{ file_id: string }> => {
    const file = await toFile(bytes, name, { type: 'image/png' })
    return { file_id: (await client.files.create({ file, purpose: 'vision' })).id }
  }
  const image = await upload(fox, 'fox.png')
  const lines = [
    ['hat', { model, prompt: 'A hat', images: [image], mask: await upload(mask, 'mask.png'), ...jpeg }],
    ['night', { model, prompt: 'The two of them at night', images: [image, image], ...jpeg }],
  ] as const
  const created = await submit(client, '/v1/images/edits', lines)
  const batch = await ended(client, created.id, 'completed')
  return { counts: { ...batch.request_counts }, ...(await results(client, batch)) }
}

export async function faultyFile({ client, model }: Place): Promise<unknown> {
  const endpoint = '/v1/images/generations'
  const line = lineOf(endpoint, ['twice', { model, prompt: 'A boat' }])
  const bytes = Buffer.from([line, '{', line].join('\n'))
  const file = await client.files.create({ file: await toFile(bytes, 'faulty.jsonl'), purpose: 'batch' })
  const order = { input_file_id: file.id, endpoint, completion_window: '24h', metadata: tag } as const
  const batch = await ended(client, (await client.batches.create(order)).id, 'failed')
  ok(batch.failed_at! >= batch.created_at, 'failed_at is before created_at')
  const faults = batch.errors!.data!
  ok(
    faults.every(({ code, message }) => code && message),
    'a fault without its code or message',
  )
  return {
    lines: faults.map(({ line }) => line),
    files: [batch.output_file_id ?? null, batch.error_file_id ?? null],
  }
}

export async function cancel({ client, model }: Place): Promise<unknown> {
  const lines = Array.from(
    { length: 60 },
    (_, index) => [`c${index}`, { model, prompt: `Boat ${index}`, quality: 'low' }] as const,
  )
  const { id } = await submit(client, '/v1/images/generations', lines)
  await polled(client, id, ({ status }) => status === 'in_progress')
  const asked = await client.batches.cancel(id)
  ok(['cancelling', 'cancelled'].includes(asked.status), `a batch that was cancelled is ${asked.status}`)
  ok(asked.cancelling_at! >= asked.created_at, 'cancelling_at is before created_at')
  const batch = await ended(client, id, 'cancelled')
  ok(batch.cancelled_at! >= asked.cancelling_at!, 'cancelled_at is before cancelling_at')
  const { output, errors } = await joined(client, batch)
  const sent = new Set<string>(lines.map(([customId]) => customId))
  const told = [...output.keys(), ...errors.keys()]
  strictEqual(output.size, batch.request_counts!.completed)
  ok(
    told.length === new Set(told).size && told.every((each) => sent.has(each)),
    'a line that nobody sent, or twice',
  )
  return { total: batch.request_counts!.total }
}

/** Others may stand among the batches of the script: an account has more than one program. */
export async function batchList({ client }: Place): Promise<unknown> {
  const listed: OpenAI.Batch[] = []
  for await (const batch of client.batches.list({ limit: 1 })) listed.push(batch)
  const ids = listed.map(({ id }) => id)
  strictEqual(new Set(ids).size, ids.length, 'a batch is listed twice')
  const inTwos: string[] = []
  for await (const { id } of client.batches.list({ limit: 2 })) inTwos.push(id)
  deepStrictEqual(inTwos, ids)
  const times = listed.map(({ created_at: at }) => at)
  deepStrictEqual(
    times,
    times.toSorted((a, b) => b - a),
    'the newest is not the first',
  )
  const page = await client.batches.list({ limit: 2 })
  return {
    ours: listed.filter(({ metadata }) => metadata?.['program'] === tag.program).map(({ status }) => status),
    page: [page.data.length, page.hasNextPage()],
  }
}
