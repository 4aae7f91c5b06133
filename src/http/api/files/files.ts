import { extname } from 'node:path'
import { z } from 'zod'
import { mayUse, type Caller } from '../../../core/caller.ts'
import { timeOfId } from '../../../core/timed-id.ts'
import { limits } from '../../../core/limits.ts'
import type { Context } from '../../../pipeline/context.ts'
import { filePurposes, type KeptContent, type StoredFile } from '../../../ports/files.ts'
import { attachment } from '../../attachment.ts'
import { uploadPatience } from '../../body/body.ts'
import { letPass } from '../../body/chunks.ts'
import { isKnown } from '../../etag.ts'
import { faultOf, quoted } from '../../fault.ts'
import {
  fileBody,
  fileBytesMax,
  fileExpiryMs,
  oneFile,
  sentPurposes,
  type SentPurpose,
} from '../../body/file-body.ts'
import { handsFull, handsOf, takeBlocks } from '../../hands.ts'
import { listBody } from '../../list.ts'
import { readMultipart, type FieldPart } from '../../body/multipart.ts'
import { readQuery } from '../../query.ts'
import { readRange } from '../../range.ts'
import { notFound, reply, replyError, type ApiError, type Call, type Reply } from '../../reply.ts'
import { withImages } from '../inline-images.ts'

/** POST /v1/files: the content goes to storage while it comes; what is to be said of it may stand before or behind it. */
export async function postFile(call: Call): Promise<Reply> {
  const hands = handsOf(call.context)
  if (!takeBlocks(hands, call.request)) {
    await letPass(call.request.body, uploadPatience)
    return replyError(handsFull)
  }
  try {
    return await takeFile(call)
  } finally {
    hands.empty()
  }
}

async function takeFile({ request, context, caller }: Call): Promise<Reply> {
  const read = await readMultipart(request, oneFile, async ({ name, filename, content }): Promise<Upload> => {
    const kept = await context.files.keep({ content, sizeBytesMax: limits.requestFilesBytesMax })
    return { name, filename, kept }
  })
  const [upload] = read.files
  const asked = read.kind === 'refused' ? read : readUpload(read.fields, upload)
  if (asked.kind === 'refused') {
    if (upload?.kept.kind === 'kept') await upload.kept.discard()
    return replyError(asked.fault)
  }
  const { kept, ...facts } = asked
  return reply(200, fileBody(await kept.record({ owner: caller.key, ...facts })))
}

type Upload = {
  readonly name: string
  readonly filename: string
  readonly kept: KeptContent | { readonly kind: 'too-large' }
}

type Asked = {
  readonly kind: 'asked'
  readonly kept: KeptContent
  readonly filename: string
  readonly purpose: SentPurpose
  readonly expiresAfterMs: number | null
}

type Refused = { readonly kind: 'refused'; readonly fault: ApiError }

const anchorName = 'expires_after[anchor]'
const secondsName = 'expires_after[seconds]'

const fieldsSchema = z.strictObject({
  purpose: z.enum(sentPurposes),
  [anchorName]: z.literal('created_at').optional(),
  [secondsName]: z.coerce
    .number()
    .int()
    .min(limits.fileExpirySecondsMin)
    .max(limits.fileExpirySecondsMax)
    .optional(),
})

const fieldNames = ['file', ...Object.keys(fieldsSchema.shape)]

function readUpload(fields: readonly FieldPart[], upload: Upload | undefined): Asked | Refused {
  const twice = fields.find(({ name }, place) => fields.findIndex((each) => each.name === name) < place)
  if (twice !== undefined)
    return refused({ param: twice.name, message: `${twice.name}: it is given twice; allowed: once` })
  const given = Object.fromEntries(fields.map(({ name, value }) => [name, value]))
  const parsed = fieldsSchema.safeParse(given, { reportInput: true })
  if (!parsed.success) return refused(faultOf(parsed.error, fieldNames, given))
  const { purpose, [anchorName]: anchor, [secondsName]: expirySeconds } = parsed.data
  if ((anchor === undefined) !== (expirySeconds === undefined)) {
    const param = anchor === undefined ? anchorName : secondsName
    const message = `${param}: it is missing; allowed: ${anchorName} and ${secondsName} together, or neither`
    return refused({ param, code: 'missing_required_parameter', message })
  }
  if (upload?.name !== 'file') return refused(noFile(upload))
  const { kept, filename } = upload
  if (kept.kind === 'too-large' || kept.sizeBytes > fileBytesMax[purpose])
    return refused(tooLarge(kept, purpose))
  if (filename.length > limits.filenameCharsMax) {
    const message = `file: its name has ${filename.length} characters; allowed: at most ${limits.filenameCharsMax}`
    return refused({ param: 'file', message })
  }
  const expiresAfterMs = fileExpiryMs(purpose, expirySeconds)
  // A form may send a file without a name.
  return { kind: 'asked', kept, filename: filename === '' ? 'file' : filename, purpose, expiresAfterMs }
}

/** What is allowed, and how more can be sent where more is allowed. */
function tooLarge(kept: Upload['kept'], purpose: SentPurpose): Omit<ApiError, 'status'> & { status: number } {
  const inRequest = limits.requestFilesBytesMax
  const got = kept.kind === 'too-large' ? `more than ${inRequest}` : kept.sizeBytes
  const all = fileBytesMax[purpose]
  const allowed =
    all <= inRequest
      ? `at most ${all} for the purpose ${purpose}`
      : `at most ${inRequest} in one request; POST /v1/uploads takes up to ${all} for the purpose ${purpose}, in parts`
  const message = `file: got ${got} bytes; allowed: ${allowed}`
  return { status: 413, param: 'file', code: 'file_too_large', message }
}

function noFile(upload: Upload | undefined): Omit<ApiError, 'status'> {
  const code = upload === undefined ? 'missing_required_parameter' : 'unknown_parameter'
  const got = upload === undefined ? 'it is missing' : `got ${quoted(upload.name)} instead`
  return { param: 'file', code, message: `file: ${got}; wanted one file, in the field "file"` }
}

function refused(fault: Omit<ApiError, 'status'> & { readonly status?: number }): Refused {
  return { kind: 'refused', fault: { status: 400, code: 'invalid_value', ...fault } }
}

const querySchema = z.object({
  purpose: z.enum(filePurposes).optional(),
  limit: z.coerce.number().int().min(1).max(limits.filesPageMax).default(limits.filesPageMax),
  order: z.enum(['asc', 'desc']).default('desc'),
  after: z
    .string()
    .refine((id) => timeOfId(id) !== undefined, 'the id of a file')
    .optional(),
})

/** GET /v1/files */
export async function listFiles({ request, context, caller }: Call): Promise<Reply> {
  const query = readQuery(request, querySchema)
  if (query.kind === 'refused') return query.reply
  const { files, hasMore, lastId } = await context.files.list({ owner: ownerOf(caller), ...query.value })
  // OpenAI's schema wants a string also where there is none.
  const ends = { firstId: files.at(0)?.id ?? '', lastId: lastId ?? '' }
  return reply(200, listBody(files.map(fileBody), { ...ends, hasMore }))
}

/** GET /v1/files/{id} */
export async function getFile(call: Call): Promise<Reply> {
  const file = await fileOf(call)
  return file === undefined ? noSuchFile(call) : reply(200, fileBody(file))
}

/** GET /v1/files/{id}/content: all of it, or the one range that is asked for. */
export async function getFileContent(call: Call): Promise<Reply> {
  const { request, context } = call
  const file = await fileOf(call)
  if (file === undefined) return noSuchFile(call)
  if (request.query.get('images') === 'b64') return withInlinedImages(call, file)
  if (request.query.get('link') === 'true') {
    const facts = { contentType: contentTypeOf(file), disposition: attachment(file.filename) }
    const location = await context.files.link(file.id, facts)
    // Where none can be signed the bytes come from here, as without.
    if (location !== undefined) return { status: 302, headers: { location, 'cache-control': 'no-store' } }
  }
  const { sizeBytes } = file
  // A file never changes, so its id stands for what is in it.
  const etag = `"${file.id}"`
  const kept = { etag, 'cache-control': 'private, max-age=3600' }
  if (isKnown(request, etag)) return { status: 304, headers: kept }
  const condition = request.headers.get('if-range')
  const wanted = condition === null || condition.trim() === etag ? request.headers.get('range') : null
  const range = readRange(wanted, sizeBytes)
  if (range === 'unsatisfiable') {
    const message = `Range: got ${quoted(wanted ?? '')}; the file has ${sizeBytes} bytes`
    const refusal = replyError({ status: 416, param: 'Range', code: 'range_not_satisfiable', message })
    return { ...refusal, headers: { ...refusal.headers, 'content-range': `bytes */${sizeBytes}` } }
  }
  const body = await context.files.read(file.id, range)
  if (body === undefined) return noSuchFile(call)
  const { from, before } = range ?? { from: 0, before: sizeBytes }
  return {
    status: range === undefined ? 200 : 206,
    headers: {
      'content-type': contentTypeOf(file),
      'content-length': String(before - from),
      'content-disposition': attachment(file.filename),
      'accept-ranges': 'bytes',
      ...kept,
      'x-content-type-options': 'nosniff',
      ...(range === undefined ? {} : { 'content-range': `bytes ${from}-${before - 1}/${sizeBytes}` }),
    },
    body,
  }
}

/** Results with the images themselves, as OpenAI's own: how long they come out is only known at the end. */
async function withInlinedImages(call: Call, file: StoredFile): Promise<Reply> {
  if (file.purpose !== 'batch_output') {
    const message = `images: the purpose of file ${file.id} is ${file.purpose}; allowed: with batch_output`
    return replyError({ status: 400, param: 'images', code: 'invalid_value', message })
  }
  const lines = await call.context.files.read(file.id)
  if (lines === undefined) return noSuchFile(call)
  return {
    status: 200,
    headers: {
      'content-type': contentTypeOf(file),
      'content-disposition': attachment(file.filename),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    },
    body: withImages(call.context, lines),
  }
}

/** DELETE /v1/files/{id} */
export async function deleteFile(call: Call): Promise<Reply> {
  const file = await fileOf(call)
  if (file === undefined || !(await call.context.files.remove(file.id))) return noSuchFile(call)
  return reply(200, { id: file.id, object: 'file', deleted: true })
}

/** What belongs to another key is not there for this one. */
async function fileOf({ request, context, caller }: Call): Promise<StoredFile | undefined> {
  const file = await readFileOf(context, request.params['id'])
  return file !== undefined && mayUse(caller, file.owner) ? file : undefined
}

async function readFileOf({ files }: Context, id: string | undefined): Promise<StoredFile | undefined> {
  return id === undefined ? undefined : files.get(id)
}

function noSuchFile({ request }: Call): Reply {
  return notFound(`file ${quoted(request.params['id'] ?? '')}`)
}

/** Whose files are listed: undefined for all. */
function ownerOf({ isAdmin, key }: Caller): string | undefined {
  return isAdmin ? undefined : (key ?? '')
}

const contentTypes: Readonly<Record<string, string>> = {
  '.jsonl': 'application/jsonl',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.webp': 'image/webp',
}

function contentTypeOf({ filename, purpose }: StoredFile): string {
  const usual = purpose === 'vision' ? 'application/octet-stream' : 'application/jsonl'
  return contentTypes[extname(filename).toLowerCase()] ?? usual
}
