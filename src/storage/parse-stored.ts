import { z } from 'zod'
import { UnreadableRow } from '../core/unreadable-row.ts'

/** JSON that stands in a row, as the schema wants it. Throws `UnreadableRow` where it is not. */
export function parseStored<T>(holds: string, schema: z.ZodType<T>, json: string | undefined): T {
  return orUnreadable(holds, () => schema.parse(JSON.parse(json ?? '')))
}

/** The values of a row, where each is a text of its own. Throws as `parseStored`. */
export function parseValues<T>(holds: string, schema: z.ZodType<T>, values: unknown): T {
  return orUnreadable(holds, () => schema.parse(values))
}

function orUnreadable<T>(holds: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof z.ZodError || error instanceof SyntaxError) throw new UnreadableRow(holds, error)
    throw error
  }
}
