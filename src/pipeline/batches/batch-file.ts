import { readBatchLine, type BatchLine, type LineFault } from '../../core/batches/batch-line.ts'
import type { BatchOrder } from '../../core/batches/batch-order.ts'
import { limits } from '../../core/limits.ts'
import type { SubmissionFault } from '../../core/requests/submission-fault.ts'
import type { Context } from '../context.ts'
import { checkInputs, noInputsSeen } from '../intake/inputs.ts'
import { linesOf } from '../lines.ts'

export type SubmittedLine = { readonly number: number; readonly text: string; readonly read: BatchLine }

type CheckedFile =
  | { readonly kind: 'right'; readonly pool: string; readonly total: number }
  /** The first faults, and how many there are. */
  | { readonly kind: 'faulty'; readonly faults: readonly LineFault[]; readonly count: number }

type Order = Pick<BatchOrder, 'inputFileId' | 'endpoint' | 'filesOf'>

/**
 * Reads a batch's file from its first line to its last and tells what is wrong with it; nothing is stored or spent.
 * `renew` is called all along.
 */
export async function checkFile(
  context: Context,
  order: Order,
  { renew }: { readonly renew: () => Promise<void> },
): Promise<CheckedFile> {
  const faults: LineFault[] = []
  let count = 0
  const blame = (line: number | null, { code, param, message }: SubmissionFault): void => {
    count += 1
    if (faults.length < limits.faultsKeptMax) faults.push({ line, code, param, message })
  }
  const content = await context.files.read(order.inputFileId)
  if (content === undefined) {
    const message = `input_file_id: file ${order.inputFileId} does not exist any more`
    blame(null, { code: 'invalid_request', param: 'input_file_id', message })
    return { kind: 'faulty', faults, count }
  }
  const seen = new Map<string, number>()
  const inputsSeen = noInputsSeen()
  let pool: string | undefined
  let total = 0
  for await (const { number, text } of linesOf(content, { lineBytesMax: limits.batchLineBytesMax })) {
    total += 1
    await renew()
    if (total > limits.batchLinesMax) {
      const message = `more than ${limits.batchLinesMax} lines; send the rest as another batch`
      blame(null, { code: 'too_many_tasks', param: null, message })
      break
    }
    if (text === undefined) {
      const message = `the line is no UTF-8, or longer than ${limits.batchLineBytesMax} bytes`
      blame(number, { code: 'invalid_json_line', param: null, message })
      continue
    }
    const read = readBatchLine(text, { parse: context.parse, endpoint: order.endpoint })
    if (read.kind === 'fault') {
      blame(number, read.fault)
      continue
    }
    const { submission } = read
    pool ??= submission.pool
    const first = seen.get(submission.customId)
    if (first === undefined) seen.set(submission.customId, number)
    else {
      const message = `custom_id: line ${first} has it already; each must be another`
      blame(number, { code: 'duplicate_custom_id', param: 'custom_id', message })
    }
    const fault = await checkInputs(context, submission, {
      owner: order.filesOf ?? undefined,
      seen: inputsSeen,
    })
    if (fault !== undefined) {
      const param = `body.${fault.param}`
      blame(number, { code: 'invalid_request', param, message: `body.${fault.message}` })
    }
    if (submission.pool !== pool) {
      const message = 'body.model: the lines before ask for another model; one for all lines of a file'
      blame(number, { code: 'model_mismatch', param: 'body.model', message })
    }
  }
  if (total === 0) {
    blame(null, {
      code: 'empty_file',
      param: 'input_file_id',
      message: 'the file has no line with a request',
    })
  }
  if (count > 0 || pool === undefined) return { kind: 'faulty', faults, count }
  return { kind: 'right', pool, total }
}

/**
 * The lines of a file that was found right, behind the first `skipped` of them. The rules may have changed since: what is
 * no job any more says so. Throws when the file is gone.
 */
export async function* submittedLines(
  context: Context,
  order: Order,
  skipped: number,
): AsyncGenerator<SubmittedLine> {
  const content = await context.files.read(order.inputFileId)
  if (content === undefined)
    throw new FileGone(`file ${order.inputFileId} is gone while its lines become jobs`)
  let count = 0
  for await (const { number, text = '' } of linesOf(content, { lineBytesMax: limits.batchLineBytesMax })) {
    count += 1
    if (count <= skipped) continue
    yield { number, text, read: readBatchLine(text, { parse: context.parse, endpoint: order.endpoint }) }
  }
}

export class FileGone extends Error {
  override readonly name = 'FileGone'
}
