import { z } from 'zod'
import { chanceFrom } from '../../src/local/deployment/chance.ts'
import type { Hosts } from './hosts.ts'
import type { Sent } from './messages.ts'

/** A batch that was submitted by file while hosts are killed, and what its result files say in the end. */
export type Submitted = {
  readonly batch: string
  readonly sent: readonly Sent[]
}

/** The jobs that the result files of a batch tell of. */
export type Results = { readonly output: readonly string[]; readonly errors: readonly string[] }

const url = '/v1/images/generations'

/** Half of the lines come to a few images; some of them fail for good. */
export async function submitFile(
  hosts: Hosts,
  { lines, seed }: { readonly lines: number; readonly seed: number },
): Promise<Submitted> {
  const chance = chanceFrom('file', seed)
  const made = Array.from({ length: lines }, (_, index) => {
    const number = String(index + 1).padStart(4, '0')
    const marker = index % 40 === 7 ? ' [fault:moderation_blocked]' : ''
    const body = { prompt: `Line ${number}${marker}`, quality: 'low', n: chance() < 0.9 ? 1 : 2 }
    return { custom_id: `line ${number}`, method: 'POST', url, body }
  })
  const text = made.map((line) => JSON.stringify(line)).join('\n')
  const fileId = await anyHost(hosts, async (host) => {
    const form = new FormData()
    form.set('purpose', 'batch')
    form.set('file', new Blob([text]), 'lines.jsonl')
    return idOf(await fetch(`${host}/v1/files`, { method: 'POST', body: form }))
  })
  const batch = await anyHost(hosts, async (host) => {
    const body = JSON.stringify({ input_file_id: fileId, endpoint: url, completion_window: '24h' })
    return idOf(await fetch(`${host}/v1/batches`, { method: 'POST', body }))
  })
  const insertedAt = Date.now()
  return {
    batch,
    sent: made.map((line) => ({
      text: JSON.stringify(line),
      batch,
      customId: line.custom_id,
      isValid: true,
      messageId: '',
      insertedAt,
    })),
  }
}

const batchSchema = z.object({
  status: z.string(),
  output_file_id: z.string().optional(),
  error_file_id: z.string().optional(),
})

/** Undefined until the batch has come to its end. */
export async function resultsOf(hosts: Hosts, { batch }: Submitted): Promise<Results | undefined> {
  return anyHost(hosts, async (host) => {
    const response = await fetch(`${host}/v1/batches/${batch}`)
    const found = batchSchema.parse(await response.json())
    if (found.status !== 'completed') return undefined
    const customIds = async (id: string | undefined): Promise<readonly string[]> => {
      if (id === undefined) return []
      const content = await fetch(`${host}/v1/files/${id}/content`)
      if (!content.ok) throw new Error(`the content of ${id} answered ${content.status}`)
      const all = (await content.text()).trim().split('\n')
      return all.map((line) => z.object({ custom_id: z.string() }).parse(JSON.parse(line)).custom_id)
    }
    return { output: await customIds(found.output_file_id), errors: await customIds(found.error_file_id) }
  })
}

/** Any host may be killed while it is asked; another one is asked then. */
async function anyHost<T>(hosts: Hosts, ask: (url: string) => Promise<T>): Promise<T> {
  let fault: unknown
  for (let tries = 0; tries < 20; tries += 1) {
    const host = hosts.ready().at(-1)
    try {
      if (host !== undefined) return await ask(host.said)
    } catch (error) {
      fault = error
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000))
  }
  throw new Error('no host answered', { cause: fault })
}

async function idOf(response: Response): Promise<string> {
  if (!response.ok) throw new Error(`the host answered ${response.status}: ${await response.text()}`)
  return z.object({ id: z.string() }).parse(await response.json()).id
}
