import { z } from 'zod'
import { profiles } from '../core/requests/profiles.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** What is wrong with one setting, or one field of a list: `IMAGE_DEPLOYMENTS[1].rpm`. */
export type Fault = { readonly name: string; readonly found: string; readonly wanted: string }

/**
 * What can be read of the fields, and what was wanted of each that cannot be: the readable ones are looked at further,
 * so that all faults are told at once. Every field of the schema must be optional or have a default.
 */
export function readFields<Schema extends z.ZodObject>(
  schema: Schema,
  found: Readonly<Record<string, unknown>>,
): { readonly values: z.output<Schema>; readonly wanted: ReadonlyMap<string, string> } {
  const parsed = schema.safeParse(found)
  if (parsed.success) return { values: parsed.data, wanted: new Map() }
  const wanted = new Map<string, string>()
  for (const issue of parsed.error.issues) {
    const fields = issue.code === 'unrecognized_keys' ? issue.keys : issue.path.slice(0, 1).map(String)
    const known = Object.keys(schema.shape).join(', ')
    for (const field of fields) {
      const message = Object.hasOwn(schema.shape, field) ? issue.message : `no such field; there are ${known}`
      const before = wanted.get(field)
      if (before?.includes(message) !== true) {
        wanted.set(field, before === undefined ? message : `${before}; ${message}`)
      }
    }
  }
  const readable = Object.entries(found).filter(([field]) => !wanted.has(field))
  return { values: schema.parse(Object.fromEntries(readable)), wanted }
}

/** Text of a form, of which one sentence says what is wanted. */
export function textOf(pattern: RegExp, wanted: string) {
  return z.string(wanted).regex(pattern, wanted)
}

/** A number in text, within bounds. */
export function numberOf(min: number, max: number, wanted: string, pattern = /^\d+(\.\d+)?$/) {
  return textOf(pattern, wanted)
    .transform(Number)
    .refine((value) => value >= min && value <= max, wanted)
}

export const httpsUrl = z
  .url('an address such as https://NAME.openai.azure.com')
  .regex(
    /^https:\/\/|^http:\/\/(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(\/|$)/,
    'https (http only on this machine)',
  )

const models = profiles.map(({ model }) => model)

export const modelField = z.enum(models, `one of ${models.join(', ')}`)

export const rpmBounds = {
  min: 0.1,
  max: 60_000,
  wanted: 'requests a minute, a number from 0.1 to 60000',
} as const

export const keyField = textOf(/^[\x21-\x7e]+$/, 'a key without spaces')

/** Keys are shown by their ends only, and never a short one. */
export function maskedSecret(found: string): string {
  return found.length < 16
    ? `${found.length} characters`
    : `${found.slice(0, 3)}…${found.slice(-2)} (${found.length} characters)`
}
