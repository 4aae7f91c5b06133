import { limits } from './limits.ts'

/** JSON that somebody else wrote. Its reason for being unreadable quotes nothing of it: a prompt or a key may be inside. */
export function readJson(
  text: string,
):
  | { readonly kind: 'json'; readonly value: unknown }
  | { readonly kind: 'unreadable'; readonly reason: string } {
  try {
    return { kind: 'json', value: JSON.parse(text) }
  } catch (error) {
    return { kind: 'unreadable', reason: withoutQuotedInput(String(error)) }
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What kind of thing a value is: `an array`, `null`, `a string`. */
export function nameOf(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value === 'object') return Array.isArray(value) ? 'an array' : 'an object'
  return `a ${typeof value}`
}

/** V8 quotes the input in its message. */
function withoutQuotedInput(message: string): string {
  const reason = message.replace(/^SyntaxError: /, '').replace(/,? ?(\.\.\.)?".*$/s, '')
  return reason === '' ? 'unexpected text' : reason.slice(0, limits.quotedValueCharsMax)
}
