import { z } from 'zod'
import { endpoints } from '../../../core/requests/endpoints.ts'
import { limits } from '../../../core/limits.ts'
import { capUsdSchema } from '../../../core/costs/money.ts'
import { label, metadataSchema, priorities } from '../../../core/requests/submission.ts'
import type { AskedBatch } from '../../../pipeline/batches/submit.ts'

/** The body of POST /v1/batches: OpenAI's fields, and ours. */
export const batchOrderSchema = z.strictObject({
  input_file_id: z.string().min(1).max(limits.batchNameCharsMax),
  endpoint: z.enum(endpoints),
  completion_window: z
    .string()
    .regex(/^(?:[1-9]\d{0,3}[mhd])$/, { error: 'minutes, hours or days, as in 90m, 24h or 7d' })
    .default('24h'),
  metadata: metadataSchema.nullish(),
  output_expires_after: z
    .strictObject({ anchor: z.literal('created_at'), seconds: z.int().min(3_600).max(2_592_000) })
    .nullish(),
  name: label(1, limits.customIdCharsMax).nullish(),
  priority: z.enum(priorities).optional(),
  cap_usd: capUsdSchema.nullish(),
  on_unknown: z.enum(['retry', 'fail']).nullish(),
  output_prefix: z
    .string()
    .max(limits.outputPrefixCharsMax)
    .refine(isBlobPrefix, { message: 'names of folders and files of A-Za-z0-9._- with slashes between them' })
    .nullish(),
  webhook: z
    .union([
      z.string().max(limits.webhookUrlCharsMax),
      z.strictObject({ url: z.string().max(limits.webhookUrlCharsMax), per_job: z.boolean().default(false) }),
    ])
    .nullish(),
})

type BatchOrderBody = z.output<typeof batchOrderSchema>

/** `origin`: scheme and host of the request. */
export function askedBatch(
  body: BatchOrderBody,
  { origin }: { readonly origin: string },
): Pick<AskedBatch, 'order' | 'terms'> {
  const { webhook, output_expires_after: expiry, priority } = body
  return {
    order: {
      inputFileId: body.input_file_id,
      endpoint: body.endpoint,
      completionWindow: body.completion_window,
      name: body.name ?? null,
      metadata: body.metadata ?? null,
      outputExpiresAfterMs: expiry ? 1_000 * expiry.seconds : null,
      onUnknown: body.on_unknown ?? null,
      outputPrefix: body.output_prefix || null,
      webhook:
        typeof webhook === 'string'
          ? { url: webhook, perJob: false }
          : webhook
            ? { url: webhook.url, perJob: webhook.per_job }
            : null,
      origin,
    },
    terms: { ...(priority === undefined ? {} : { priority }), capMicroUsd: body.cap_usd ?? null },
  }
}

/** How long the window is; it was checked to be one. */
export function windowMs(completionWindow: string): number {
  const unitMs = completionWindow.endsWith('m')
    ? 60_000
    : completionWindow.endsWith('h')
      ? 3_600_000
      : 86_400_000
  return Number.parseInt(completionWindow, 10) * unitMs
}

/** Blob Storage drops a dot at the end of a part of a path, and reads `..` as the folder above. */
function isBlobPrefix(prefix: string): boolean {
  const parts = prefix.split('/')
  const isName = (part: string): boolean => /^[A-Za-z0-9_-](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?$/.test(part)
  return (
    parts.slice(0, -1).every(isName) && (parts.at(-1) === '' ? parts.length > 1 : isName(parts.at(-1) ?? ''))
  )
}
