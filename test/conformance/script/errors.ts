import { ok } from 'node:assert/strict'
import {
  AuthenticationError,
  BadRequestError,
  ConflictError,
  NotFoundError,
  RateLimitError,
  toFile,
} from 'openai'
import { png } from '../../support/png.ts'
import { tag } from './batch-work.ts'
import type { Place } from './place.ts'
import { fox } from './samples.ts'
import { faultOf } from './seen.ts'

export async function errors({ client, model }: Place): Promise<unknown> {
  const order = { endpoint: '/v1/images/generations', completion_window: '24h' } as const
  const { data } = await client.batches.list({ limit: 100 })
  const done = data.find(
    (batch) => batch.status === 'completed' && batch.metadata?.['program'] === tag.program,
  )
  const image = await toFile(fox, 'fox.png', { type: 'image/png' })
  const small = await toFile(png({ width: 32, height: 32 }), 'small.png', { type: 'image/png' })
  const faults = [
    await faultOf(client.batches.create({ input_file_id: 'file-none', ...order }), BadRequestError),
    await faultOf(
      client.images.generate({ model, prompt: 'A fox', response_format: 'b64_json' }),
      BadRequestError,
    ),
    await faultOf(client.images.edit({ model, image, mask: small, prompt: 'A hat' }), BadRequestError),
    await faultOf(client.withOptions({ apiKey: 'sk-none' }).batches.list(), AuthenticationError),
    await faultOf(client.batches.retrieve('batch_none'), NotFoundError),
    await faultOf(client.batches.cancel('batch_none'), NotFoundError),
    await faultOf(client.files.delete('file-none'), NotFoundError),
    await faultOf(client.batches.cancel(done!.id), ConflictError),
  ]
  return faults.map(({ status }) => status)
}

/** The last step: nothing can be called after it. */
export async function tooMany({ client, model, exhaust }: Place): Promise<unknown> {
  exhaust()
  const call = client.images.generate({ model, prompt: 'A fox too many' })
  const { status, headers } = await faultOf(call, RateLimitError)
  const after = headers?.get('retry-after')
  ok(Number(after) > 0, `Retry-After is ${after}`)
  return status
}
