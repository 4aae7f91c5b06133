import type { z } from 'zod'
import { limits } from '../core/limits.ts'
import { describeIssue, type SubmissionFault } from '../core/requests/submission-fault.ts'

/** What is wrong with something that a schema refused, as one sentence; `names` are those of all that may be given. */
export function faultOf(
  { issues }: Pick<z.ZodError, 'issues'>,
  names: readonly string[],
  /** Where all was text: what stood there, before it was read as a number. */
  texts?: Readonly<Record<string, string>>,
): SubmissionFault {
  const [issue] = issues
  if (issue === undefined) return { param: null, code: 'invalid_value', message: 'it is not as wanted' }
  const [field] = issue.path
  const text = typeof field === 'string' ? texts?.[field] : undefined
  return describeIssue(issue, { text, names, bodyNames: names })
}

/** A value that somebody gave us, as much of it as an error message shows. */
export function quoted(value: string): string {
  return JSON.stringify(value.slice(0, limits.quotedValueCharsMax))
}
