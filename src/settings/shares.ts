import { z } from 'zod'
import type { Shares } from '../core/budget/fairness.ts'
import { readJson } from '../core/json.ts'

const wanted =
  'JSON such as {"nightly-*":2}: names of batches (a * at the end stands for the rest) to shares from 0.01 to 100'

const shares = z.record(
  z
    .string()
    .regex(/^[A-Za-z0-9_-]*\*?$/)
    .min(1)
    .max(64),
  z.number().min(0.01).max(100),
)

/** What batches get of their pool beside others of the same priority. */
export const sharesField = z.string().transform((text, context): Shares => {
  const json = readJson(text)
  const parsed = shares.safeParse(json.kind === 'json' ? json.value : undefined)
  if (parsed.success) return parsed.data
  context.addIssue({ code: 'custom', message: wanted })
  return z.NEVER
})
