import { ok, strictEqual } from 'node:assert/strict'
import { toFile, type OpenAI } from 'openai'
import type { Place } from './place.ts'
import { fox, jpeg, mask } from './samples.ts'
import { picturesOf } from './seen.ts'

export async function images({ client, model }: Place): Promise<unknown> {
  const upload = async (): Promise<File> => toFile(fox, 'fox.png', { type: 'image/png' })
  const [generated, edited, combined] = await Promise.all([
    client.images.generate({ model, prompt: 'A fox', n: 2, size: '1024x1536', quality: 'low' }),
    client.images.edit({
      model,
      image: await upload(),
      mask: await toFile(mask, 'mask.png', { type: 'image/png' }),
      prompt: 'A hat on the fox',
      ...jpeg,
    }),
    client.images.edit({
      model,
      image: [await upload(), await upload()],
      prompt: 'Both of them together',
      input_fidelity: 'high',
      n: 2,
      size: '1536x1024',
      quality: 'low',
    }),
  ])
  const facts = async (answer: OpenAI.ImagesResponse): Promise<object> => {
    const { created, data, size, quality, output_format: format, usage } = answer
    ok(Math.abs(created - Date.now() / 1_000) < 60, `created is ${created}, which is not now`)
    strictEqual(usage!.total_tokens, usage!.input_tokens + usage!.output_tokens)
    return { images: await picturesOf(client, data), size, quality, format }
  }
  return { generated: await facts(generated), edited: await facts(edited), combined: await facts(combined) }
}
