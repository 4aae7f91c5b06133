import type { Endpoint } from '../requests/endpoints.ts'
import { isRecord, readJson } from '../json.ts'
import type { Submission } from '../requests/submission.ts'
import type { SubmissionFault } from '../requests/submission-fault.ts'
import type { SubmissionParser } from '../requests/submission-parser.ts'

/** What is wrong with one line of a batch file, or with all of it: `line` null. */
export type LineFault = SubmissionFault & { readonly line: number | null }

export type BatchLine =
  | { readonly kind: 'job'; readonly submission: Submission & { readonly customId: string } }
  | { readonly kind: 'fault'; readonly fault: SubmissionFault }

/**
 * One line of a batch file, in OpenAI's form: `custom_id`, `method`, `url`, `body`. Its faults have the codes of Azure's
 * Batch API (Azure's how-to on batch, table of errors).
 */
export function readBatchLine(
  text: string,
  { parse, endpoint }: { readonly parse: SubmissionParser; readonly endpoint: Endpoint },
): BatchLine {
  const json = readJson(text)
  if (json.kind === 'unreadable')
    return faulty(null, 'invalid_json_line', `the line is not JSON (${json.reason})`)
  const { value } = json
  if (!isRecord(value)) return faulty(null, 'invalid_json_line', 'the line is no JSON object')
  if (!('body' in value)) return faulty('body', 'invalid_request', `body: it is missing; ${lineForm}`)
  if ('batch' in value) {
    return faulty('batch', 'invalid_request', 'batch: got one; allowed: none in the lines of a file')
  }
  if (value['url'] !== endpoint) {
    return faulty('url', 'url_mismatch', `url: it is not the batch's endpoint; allowed: ${endpoint}`)
  }
  const parsed = parse({ json: value })
  if (parsed.kind === 'invalid') {
    const { param, message } = parsed.fault
    return faulty(param, param === 'body.model' ? 'model_not_found' : 'invalid_request', message)
  }
  const { submission } = parsed
  const { customId } = submission
  if (customId === null) {
    return faulty('custom_id', 'invalid_request', `custom_id: it is missing; ${lineForm}`)
  }
  return { kind: 'job', submission: { ...submission, customId } }
}

const lineForm =
  'wanted {"custom_id":"…","method":"POST","url":"/v1/images/generations","body":{"prompt":"…"}}'

function faulty(param: string | null, code: string, message: string): BatchLine {
  return { kind: 'fault', fault: { param, code, message } }
}
