import { checkAgainst, named } from './schemas.ts'
import type { Specs } from './specs.ts'

/**
 * A check that lets everything pass would pass: these must not. Gives their number; throws when one is not found, or when
 * what is right is found wrong.
 */
export function checkOfFaults(specs: Specs): number {
  const check = checkAgainst(specs)
  const batch = {
    id: 'batch_1',
    object: 'batch',
    endpoint: '/v1/images/generations',
    input_file_id: 'file-1',
    completion_window: '24h',
    status: 'completed',
    created_at: 1_711_471_533,
    request_counts: { total: 2, completed: 1, failed: 1 },
    ours: 'may stand beside',
  }
  const { created_at: _, ...timeless } = batch
  const upload = {
    id: 'upload_1',
    object: 'upload',
    bytes: 8,
    created_at: batch.created_at,
    expires_at: batch.created_at + 3_600,
    filename: 'lines.jsonl',
    purpose: 'batch',
    status: 'pending',
  }
  const image = { b64_json: 'aW1hZ2U=' }
  const usage = { input_tokens: 1, output_tokens: 1, total_tokens: 2 }
  const sound = [
    ['Batch', batch],
    ['ListBatchesResponse', { object: 'list', data: [batch], has_more: false }],
    ['Upload', { ...upload, file: null }],
    ['ImagesResponse', { created: batch.created_at, data: [image], size: '1024x1024' }],
    ['ErrorResponse', { error: { message: 'no', type: 'invalid_request_error', param: null, code: null } }],
  ] as const
  const planted = [
    ['Batch', timeless, '/: wanted "created_at"'],
    ['Batch', { ...batch, status: 'Validating' }, '/status: wanted one of'],
    ['Batch', { ...batch, output_file_id: null }, '/output_file_id: wanted string'],
    ['Batch', { ...batch, in_progress_at: 1_711_471_533_000 }, '/in_progress_at: wanted the format unixtime'],
    ['Batch', { ...batch, request_counts: { total: 2, completed: 1 } }, '/request_counts: wanted "failed"'],
    [
      'ListBatchesResponse',
      { object: 'list', data: [{ ...batch, id: 5 }], has_more: false },
      '/data/0/id: wanted',
    ],
    ['ListFilesResponse', { object: 'list', data: [], has_more: false }, '/: wanted "first_id"'],
    ['ImagesResponse', { created: batch.created_at, usage }, '/usage: wanted "input_tokens_details"'],
    ['ImagesResponse', { created: batch.created_at, quality: 'auto' }, '/quality: wanted one of'],
    ['BatchRequestOutput', { response: { status_code: '200' } }, '/response/status_code: wanted integer'],
    ['Upload', { ...upload, status: 'open' }, '/status: wanted one of'],
    [
      'UploadPart',
      { id: 'part_1', object: 'upload.part', created_at: 1_711_471_533 },
      '/: wanted "upload_id"',
    ],
    ['ErrorResponse', { error: { message: 'no', type: 'x', code: null } }, '/error: wanted "param"'],
  ] as const
  for (const [schema, value] of sound) {
    const faults = check(named(schema), value)
    if (faults.length > 0) throw new Error(`a sound ${schema} is found wrong: ${faults.join('; ')}`)
  }
  for (const [schema, value, wanted] of planted) {
    const faults = check(named(schema), value)
    if (!faults.some((fault) => fault.startsWith(wanted))) {
      throw new Error(
        `a planted fault of ${schema} is not found; wanted ${wanted}, got ${faults.join('; ') || 'none'}`,
      )
    }
  }
  const closed = checkAgainst(specs, { isClosed: true })
  if (!closed(named('Batch'), batch).some((fault) => fault.startsWith('/: "ours" is none'))) {
    throw new Error('a field beyond the schema is not found where none is allowed')
  }
  return planted.length + 1
}
