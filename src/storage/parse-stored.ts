import { z } from 'zod'
import { UnreadableRow } from '../core/unreadable-row.ts'

/** JSON that stands in a row, as the schema wants it. Throws `UnreadableRow` where it is not. */
export function parseStored<T>(holds: string, schema: z.ZodType<T>, json: string | undefined): T {
  try {
    return schema.parse(JSON.parse(json ?? ''))
  } catch (error) {
    if (error instanceof z.ZodError || error instanceof SyntaxError) throw new UnreadableRow(holds, error)
    throw error
  }
}
