import type { z } from 'zod'
import { nameOf } from '../json.ts'
import { limits } from '../limits.ts'

/** Why something is no valid job: the field, and a sentence with the value got and what is allowed. */
export type SubmissionFault = {
  readonly param: string | null
  readonly code: string
  readonly message: string
}

/** One sentence a person can act on: field, value got, what is allowed. The prompt itself is never quoted. */
export function describeIssue(
  issue: z.core.$ZodIssue,
  {
    names,
    bodyNames,
    text,
  }: {
    readonly names: readonly string[]
    readonly bodyNames: readonly string[]
    /** What was given, where that was read as something else. */
    readonly text?: string | undefined
  },
): SubmissionFault {
  const path = issue.path.map(String)
  if (issue.code === 'unrecognized_keys') {
    const field = [...path, ...issue.keys.slice(0, 1)].join('.')
    const allowed = path.includes('body') ? bodyNames : names
    return {
      param: named(field),
      code: 'unknown_parameter',
      message: `unknown field ${quote(field)}; allowed: ${allowed.join(', ')}`,
    }
  }
  const param = named(path.join('.'))
  const found = text ?? issue.input
  // A body that is no object may be the prompt itself.
  const mayBePrompt = path.at(-1) === 'prompt' || path.at(-1) === 'body'
  const got =
    found === undefined
      ? 'it is missing'
      : `got ${gotBy(issue) ?? (mayBePrompt ? sizeOf(found) : quote(found))}`
  return {
    param: param === '' ? null : param,
    code: found === undefined ? 'missing_required_parameter' : 'invalid_value',
    message: `${param === '' ? 'the body' : param}: ${got}; allowed: ${allowedBy(issue)}`,
  }
}

/** Where the value itself does not say what is wrong with it. */
function gotBy(issue: z.core.$ZodIssue): string | undefined {
  const got = issue.code === 'custom' ? issue.params?.['got'] : undefined
  return typeof got === 'string' ? got : undefined
}

function allowedBy(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_value':
      return issue.values.map(String).join(', ')
    case 'too_big':
      return issue.origin === 'string' ? `at most ${issue.maximum} characters` : `at most ${issue.maximum}`
    case 'too_small':
      if (issue.inclusive === false) return `more than ${issue.minimum}`
      return issue.origin === 'string' ? `at least ${issue.minimum} character` : `at least ${issue.minimum}`
    case 'invalid_type':
      if (issue.expected === 'int') return 'a whole number'
      return issue.expected === 'record' || issue.expected === 'object'
        ? 'an object'
        : withArticle(issue.expected)
    case 'invalid_key':
      return `keys of 1 to ${limits.metadataKeyCharsMax} characters`
    case 'invalid_format':
    case 'custom':
    case 'invalid_element':
    case 'invalid_union':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return issue.message
  }
}

function withArticle(kind: string): string {
  return `${/^[aeiou]/.test(kind) ? 'an' : 'a'} ${kind}`
}

/** The name of an unknown field, or of a pair of metadata, may be of any length. */
function named(field: string): string {
  return field.slice(0, limits.quotedValueCharsMax).toWellFormed()
}

/** Lists and objects are named only: a prompt may be inside. */
function quote(value: unknown): string {
  if (typeof value === 'object') return nameOf(value)
  const json = JSON.stringify(value)
  return json.length <= limits.quotedValueCharsMax ? json : `${json.slice(0, limits.quotedValueCharsMax)}…`
}

function sizeOf(value: unknown): string {
  return typeof value === 'string' ? `${value.length} characters` : nameOf(value)
}
