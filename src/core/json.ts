import { limits } from './limits.ts'

export type ReadJson =
  | { readonly kind: 'json'; readonly value: unknown }
  | { readonly kind: 'unreadable'; readonly reason: string }

/** JSON that somebody else wrote. Its reason for being unreadable quotes nothing of it: a prompt or a key may be inside. */
export function readJson(text: string): ReadJson {
  const excess = excessOf(text)
  if (excess !== undefined) return { kind: 'unreadable', reason: excess }
  try {
    return { kind: 'json', value: JSON.parse(text) }
  } catch (error) {
    return { kind: 'unreadable', reason: withoutQuotedInput(String(error)) }
  }
}

/**
 * What there is too much of to be read, without reading it: of what is no JSON, some of it. It goes through strings from
 * quote to quote, so that a text of many megabytes, nearly all of it one image, costs next to nothing.
 */
function excessOf(text: string): string | undefined {
  let depth = 0
  let parts = 0
  let isInString = false
  for (let at = 0; at < text.length; at += 1) {
    if (isInString) {
      at = text.indexOf('"', at)
      if (at < 0) return undefined
      isInString = isEscaped(text, at)
    } else {
      const code = text.charCodeAt(at)
      if (code === quote) isInString = true
      else if (code === openList || code === openObject) depth += 1
      else if (code === closeList || code === closeObject) depth -= 1
      else if (code !== comma) continue
    }
    parts += 1
    if (depth > limits.jsonDepthMax) return `it is nested deeper than ${limits.jsonDepthMax}`
    if (parts > limits.jsonPartsMax)
      return `it has more than ${limits.jsonPartsMax} quotes, brackets and commas`
  }
  return undefined
}

const quote = 0x22
const comma = 0x2c
const openList = 0x5b
const backslash = 0x5c
const closeList = 0x5d
const openObject = 0x7b
const closeObject = 0x7d

/** A backslash before it may itself stand behind one. */
function isEscaped(text: string, at: number): boolean {
  let before = at
  while (text.charCodeAt(before - 1) === backslash) before -= 1
  return (at - before) % 2 === 1
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
