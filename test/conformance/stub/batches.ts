import type { Specs } from '../specs.ts'
import { fault, pageOf, type Asked, type Part, type Told } from './answers.ts'
import type { StubFiles } from './files.ts'
import type { StubImages } from './images.ts'

type Batch = Readonly<{ id: string; status: string; [field: string]: any }>

const next: Readonly<Record<string, string>> = {
  validating: 'in_progress',
  in_progress: 'finalizing',
  finalizing: 'completed',
  cancelling: 'cancelled',
}

/** A batch comes to its next state each time it is looked at by itself. */
export function stubBatches(specs: Specs, files: StubFiles, images: StubImages): Part {
  /** Newest first. */
  let batches: readonly Batch[] = []

  function put(batch: Batch): Told {
    batches = batches.some(({ id }) => id === batch.id)
      ? batches.map((each) => (each.id === batch.id ? batch : each))
      : [batch, ...batches]
    return { status: 200, json: batch }
  }

  function posted({ json }: Asked): Told {
    if (files.read(json.input_file_id) === undefined) {
      return fault(400, `No such File object: ${json.input_file_id}`, 'input_file_id')
    }
    const { output_expires_after: expiry, ...order } = json
    const batch = {
      ...specs.exampleOf('Batch'),
      ...Object.fromEntries(
        [...times, 'output_file_id', 'error_file_id', 'metadata'].map((name) => [name, null]),
      ),
      ...order,
      id: `batch_${crypto.randomUUID().replaceAll('-', '')}`,
      status: 'validating',
      created_at: Math.floor(Date.now() / 1_000),
      request_counts: { total: 0, completed: 0, failed: 0 },
    }
    expiries.set(batch.id, expiry?.seconds ?? 30 * 86_400)
    return put(batch)
  }
  const expiries = new Map<string, number>()

  function moved(batch: Batch): Batch {
    const lines = linesOf(files.read(batch['input_file_id'])!)
    const faults = faultsOf(lines)
    if (batch.status === 'validating' && faults.length > 0) {
      return { ...at(batch, 'failed'), errors: { object: 'list', data: faults } }
    }
    const status = next[batch.status]
    if (status === undefined) return batch
    const counts = { ...batch['request_counts'], total: lines.length }
    const later = { ...at(batch, status), request_counts: counts }
    return status === 'completed' ? completed(later, lines) : later
  }

  function completed(batch: Batch, lines: readonly any[]): Batch {
    const done = lines.map(({ custom_id: customId, body }) => {
      const { status, json } = images.answer(body)
      const response = { status_code: status, request_id: `req_${customId}`, body: json }
      return { id: `batch_req_${customId}`, custom_id: customId, response, error: null }
    })
    const good = done.filter(({ response }) => response.status_code === 200)
    const bad = done.filter(({ response }) => response.status_code !== 200)
    return {
      ...batch,
      output_file_id: fileOf(batch, 'output', good),
      error_file_id: fileOf(batch, 'error', bad),
      request_counts: { total: done.length, completed: good.length, failed: bad.length },
    }
  }

  function fileOf({ id }: Batch, name: string, lines: readonly object[]): string | null {
    if (lines.length === 0) return null
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    const createdAt = Math.floor(Date.now() / 1_000)
    return files.keep(Buffer.from(text), {
      filename: `${id}_${name}.jsonl`,
      purpose: 'batch_output',
      created_at: createdAt,
      expires_at: createdAt + expiries.get(id)!,
    }).id
  }

  function cancelled(batch: Batch): Told {
    if (!['validating', 'in_progress', 'finalizing'].includes(batch.status)) {
      return fault(409, `Cannot cancel a batch with status '${batch.status}'.`)
    }
    return put(at(batch, 'cancelling'))
  }

  return (asked) => {
    const { method, path, query } = asked
    const [isOurs, id, isCancel] = /^\/batches(?:\/([^/]+)(\/cancel)?)?$/.exec(path) ?? []
    if (isOurs === undefined) return undefined
    if (id === undefined) return method === 'POST' ? posted(asked) : pageOf(batches, query, 20)
    const batch = batches.find((each) => each.id === id)
    if (batch === undefined) return fault(404, `No batch found with id '${id}'.`)
    return isCancel === undefined ? put(moved(batch)) : cancelled(batch)
  }
}

const times = [
  'in_progress',
  'expires',
  'finalizing',
  'completed',
  'failed',
  'expired',
  'cancelling',
  'cancelled',
].map((state) => `${state}_at`)

function at(batch: Batch, status: string): Batch {
  return { ...batch, status, [`${status}_at`]: Math.floor(Date.now() / 1_000) }
}

/** Undefined stands for a line that is no JSON. */
function linesOf(content: Buffer): readonly any[] {
  const lines = content.toString().trim().split('\n')
  return lines.map((line) => {
    try {
      return JSON.parse(line)
    } catch (error) {
      if (error instanceof SyntaxError) return undefined
      throw error
    }
  })
}

function faultsOf(lines: readonly any[]): readonly object[] {
  return lines.flatMap((line, index): readonly object[] => {
    if (line === undefined) {
      return [{ code: 'invalid_json_line', message: 'The line is no JSON.', param: null, line: index + 1 }]
    }
    const isTwice = lines.slice(0, index).some((each) => each?.custom_id === line.custom_id)
    const message = 'The custom_id was used before.'
    return isTwice ? [{ code: 'duplicate_custom_id', message, param: 'custom_id', line: index + 1 }] : []
  })
}
