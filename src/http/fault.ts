import type { z } from 'zod'
import { limits } from '../core/limits.ts'
import { describeIssue, type SubmissionFault } from '../core/submission-fault.ts'

/** What is wrong with something that a schema refused, as one sentence; `names` are those of all that may be given. */
export function faultOf({ issues }: z.ZodError, names: readonly string[]): SubmissionFault {
  const [issue] = issues
  if (issue === undefined) return { param: null, code: 'invalid_value', message: 'it is not as wanted' }
  return describeIssue(issue, { names, bodyNames: names })
}

/** A value that somebody gave us, as much of it as an error message shows. */
export function quoted(value: string): string {
  return JSON.stringify(value.slice(0, limits.quotedValueCharsMax))
}
