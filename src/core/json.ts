import { limits } from './limits.ts'

/** JSON that somebody else wrote. Its reason for being unreadable quotes nothing of it: a prompt or a key may be inside. */
export function readJson(
  text: string,
):
  | { readonly kind: 'json'; readonly value: unknown }
  | { readonly kind: 'unreadable'; readonly reason: string } {
  const isDeep = depthOf(text) > limits.jsonDepthMax
  if (isDeep) return { kind: 'unreadable', reason: `it is nested deeper than ${limits.jsonDepthMax}` }
  try {
    return { kind: 'json', value: JSON.parse(text) }
  } catch (error) {
    return { kind: 'unreadable', reason: withoutQuotedInput(String(error)) }
  }
}

/** How deep lists and objects stand in each other; of text that is no JSON, some number. */
function depthOf(text: string): number {
  let depth = 0
  let deepest = 0
  let isInString = false
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charAt(at)
    if (char === '"') isInString = !isInString
    else if (isInString) at += char === '\\' ? 1 : 0
    else if (char === '[' || char === '{') depth += 1
    else if (char === ']' || char === '}') depth -= 1
    if (depth > deepest) deepest = depth
  }
  return deepest
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
