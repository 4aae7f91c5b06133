import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { toFile, type OpenAI } from 'openai'
import { picturesOf } from './seen.ts'

export type Endpoint = '/v1/images/generations' | '/v1/images/edits'
export type Line = readonly [customId: string, body: Readonly<Record<string, unknown>>]

/** On every batch of the script, to tell them from those of others. */
export const tag = { program: 'conformance' } as const

const pollMs = 200
const pollsMax = 200

export function lineOf(endpoint: Endpoint, [customId, body]: Line): string {
  return JSON.stringify({ custom_id: customId, method: 'POST', url: endpoint, body })
}

export async function submit(
  client: OpenAI,
  endpoint: Endpoint,
  lines: readonly Line[],
  more: Partial<OpenAI.BatchCreateParams> = {},
): Promise<OpenAI.Batch> {
  const text = lines.map((line) => `${lineOf(endpoint, line)}\n`).join('')
  const file = await client.files.create({
    file: await toFile(Buffer.from(text), 'in.jsonl'),
    purpose: 'batch',
  })
  const batch = await client.batches.create({
    input_file_id: file.id,
    endpoint,
    completion_window: '24h',
    ...more,
    metadata: { ...more.metadata, ...tag },
  })
  strictEqual(batch.input_file_id, file.id)
  strictEqual(batch.endpoint, endpoint)
  return batch
}

/** The batch as soon as it is as wanted; throws when it takes too long. */
export async function polled(
  client: OpenAI,
  id: string,
  isWanted: (batch: OpenAI.Batch) => boolean,
): Promise<OpenAI.Batch> {
  for (let polls = 0; polls < pollsMax; polls += 1) {
    const batch = await client.batches.retrieve(id)
    if (isWanted(batch)) return batch
    await delay(pollMs)
  }
  throw new Error(`batch ${id} is not as wanted after ${(pollsMax * pollMs) / 1_000} s`)
}

const ways = {
  completed: ['validating', 'in_progress', 'finalizing', 'completed'],
  failed: ['validating', 'failed'],
  cancelled: ['validating', 'in_progress', 'finalizing', 'cancelling', 'cancelled'],
} as const

/** The batch at the end that is wanted, to which it must come over the states that lead there, in their order. */
export async function ended(client: OpenAI, id: string, end: keyof typeof ways): Promise<OpenAI.Batch> {
  const way: readonly string[] = ways[end]
  let last = 0
  return polled(client, id, ({ status }) => {
    const place = way.indexOf(status)
    ok(place >= last, `a batch that was ${way[last]} is ${status}; wanted ${way.slice(last).join(' or ')}`)
    last = place
    return status === end
  })
}

/** What came of the lines, by their custom ids. */
export async function results(client: OpenAI, batch: OpenAI.Batch): Promise<object> {
  const { output, errors } = await joined(client, batch)
  deepStrictEqual([output.size, errors.size], [batch.request_counts!.completed, batch.request_counts!.failed])
  const images: [string, unknown][] = []
  for (const [id, line] of output) images.push([id, await picturesOf(client, line.response.body.data)])
  return {
    images: Object.fromEntries(images),
    errors: Object.fromEntries([...errors].map(([id, line]) => [id, line.response?.status_code ?? null])),
  }
}

/** The lines of both files by their custom ids; a file that is not there has none. */
export async function joined(
  client: OpenAI,
  { output_file_id: outputId, error_file_id: errorId }: OpenAI.Batch,
): Promise<{ readonly output: ReadonlyMap<string, any>; readonly errors: ReadonlyMap<string, any> }> {
  return { output: await linesById(client, outputId), errors: await linesById(client, errorId) }
}

async function linesById(client: OpenAI, id: string | undefined): Promise<ReadonlyMap<string, any>> {
  // OpenAI's examples have null where its types know only undefined.
  if (!id) return new Map()
  const text = await (await client.files.content(id)).text()
  const lines = text.trim().split('\n')
  const byId = new Map<string, any>(
    lines.map((line) => JSON.parse(line)).map((line) => [line.custom_id, line]),
  )
  strictEqual(byId.size, lines.length, 'a custom id comes twice')
  return byId
}
