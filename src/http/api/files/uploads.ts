import { z } from 'zod'
import { mayUse } from '../../../core/caller.ts'
import { limits } from '../../../core/limits.ts'
import { label } from '../../../core/requests/submission.ts'
import type { Closed, Mismatch, StagedPart, Upload, UploadPart, UploadStore } from '../../../ports/uploads.ts'
import { readBody, uploadPatience } from '../../body/body.ts'
import { letPass } from '../../body/chunks.ts'
import { quoted } from '../../fault.ts'
import { fileBody, fileBytesMax, fileExpiryMs, oneFile, sentPurposes } from '../../body/file-body.ts'
import { handsFull, handsOf, takeBlocks } from '../../hands.ts'
import { readMultipart } from '../../body/multipart.ts'
import { notFound, reply, replyError, seconds, type Call, type Reply } from '../../reply.ts'

const uploadSchema = z.strictObject({
  bytes: z.int().min(1),
  filename: label(1, limits.filenameCharsMax),
  // OpenAI wants it. What a file is sent as is told by its name.
  mime_type: z.string().min(1).max(limits.mimeTypeCharsMax),
  purpose: z.enum(sentPurposes),
  expires_after: z
    .strictObject({
      anchor: z.literal('created_at'),
      seconds: z.int().min(limits.fileExpirySecondsMin).max(limits.fileExpirySecondsMax),
    })
    .nullish(),
})

/** POST /v1/uploads: OpenAI's way for files that are too large for one request. */
export async function postUpload({ request, context, caller }: Call): Promise<Reply> {
  const body = await readBody(request, uploadSchema)
  if (body.kind === 'refused') return body.reply
  const { bytes: sizeBytes, filename, purpose, expires_after: expiry } = body.value
  if (sizeBytes > fileBytesMax[purpose]) {
    const message = `bytes: got ${sizeBytes}; allowed: at most ${fileBytesMax[purpose]} for the purpose ${purpose}`
    return replyError({ status: 400, param: 'bytes', code: 'file_too_large', message })
  }
  const upload = await context.uploads.open({
    owner: caller.key,
    // Without folders, as the name of a file in a form.
    filename: filename.split(/[\\/]/).at(-1) || 'file',
    purpose,
    sizeBytes,
    fileExpiresAfterMs: fileExpiryMs(purpose, expiry?.seconds),
  })
  return reply(200, uploadBody(upload))
}

/** POST /v1/uploads/{id}/parts: bytes go to storage while they come, in any order and beside those of other parts. */
export async function postUploadPart(call: Call): Promise<Reply> {
  const refused = async (answer: Reply): Promise<Reply> => {
    await letPass(call.request.body, uploadPatience)
    return answer
  }
  const upload = await uploadOf(call)
  if (upload === undefined) return refused(noSuchUpload(call))
  const hands = handsOf(call.context)
  if (!takeBlocks(hands, call.request)) return refused(replyError(handsFull))
  try {
    return await takePart(call, upload)
  } finally {
    hands.empty()
  }
}

async function takePart(call: Call, { id }: Upload): Promise<Reply> {
  const { request, context } = call
  const read = await readMultipart(request, oneFile, async ({ name, content }) => {
    // Another field's bytes flow past.
    return { name, staged: name === 'data' ? await context.uploads.stage({ id, content }) : undefined }
  })
  if (read.kind === 'refused') return replyError(read.fault)
  const [field] = read.fields
  const [file] = read.files
  if (field !== undefined || file?.name !== 'data') return noData(field?.name ?? file?.name)
  const { staged } = file
  if (staged?.kind !== 'staged') return partRefused(call, staged)
  if (staged.sizeBytes === 0) {
    const message = 'data: it is empty; wanted bytes of the file'
    return replyError({ status: 400, param: 'data', code: 'invalid_value', message })
  }
  const recorded = await staged.record()
  if (recorded?.kind !== 'added') return partRefused(call, recorded)
  return reply(200, partBody(id, recorded.part))
}

/** Curl, for one, sends a file only where its name stands behind an @. */
function noData(got: string | undefined): Reply {
  const isText = got === 'data'
  const found = got === undefined ? 'it is missing' : isText ? 'got a text' : `got ${quoted(got)} instead`
  const code =
    got === undefined ? 'missing_required_parameter' : isText ? 'invalid_value' : 'unknown_parameter'
  const message = `data: ${found}; wanted one file, in the field "data" (curl: -F data=@FILE), and nothing beside it`
  return replyError({ status: 400, param: 'data', code, message })
}

type NoPart =
  | Exclude<Awaited<ReturnType<UploadStore['stage']>>, StagedPart>
  | Exclude<Awaited<ReturnType<StagedPart['record']>>, { readonly kind: 'added' }>

function partRefused(call: Call, refusal: NoPart): Reply {
  if (refusal === undefined) return noSuchUpload(call)
  switch (refusal.kind) {
    case 'closed':
      return closedReply(call, refusal)
    case 'too-large': {
      const { sizeBytesMax } = refusal
      const isWhole = sizeBytesMax < limits.requestFilesBytesMax
      const what = isWhole ? ', which are all that the upload was made for' : ' in one part'
      const message = `data: got more than ${sizeBytesMax} bytes; allowed: at most ${sizeBytesMax}${what}`
      return replyError({ status: 413, param: 'data', code: 'part_too_large', message })
    }
    case 'full': {
      const { uploadPartsMax: parts, uploadHeldBytesMax: bytes } = limits
      const message = `data: the upload has as much as it may have, with what was sent twice or broke off; allowed: at most ${parts} parts and ${bytes} bytes; cancel it, and make another with POST /v1/uploads`
      return replyError({ status: 400, param: 'data', code: 'upload_full', message })
    }
  }
}

const completeSchema = z.strictObject({
  part_ids: z.array(z.string().max(limits.partIdCharsMax)).min(1).max(limits.uploadPartsMax),
  md5: z
    .string()
    .regex(/^[0-9a-f]{32}$/i, '32 digits in hex')
    .nullish(),
})

/** POST /v1/uploads/{id}/complete: the parts, in this order, are a file from now on. */
export async function completeUpload(call: Call): Promise<Reply> {
  const { request, context } = call
  const upload = await uploadOf(call)
  if (upload === undefined) return noSuchUpload(call)
  const body = await readBody(request, completeSchema)
  if (body.kind === 'refused') return body.reply
  const { part_ids: partIds, md5 } = body.value
  const completed = await context.uploads.complete({
    id: upload.id,
    partIds,
    md5: md5?.toLowerCase() ?? null,
  })
  if (completed === undefined) return noSuchUpload(call)
  switch (completed.kind) {
    case 'completed':
      return reply(200, uploadBody(completed.upload))
    case 'closed':
      return closedReply(call, completed)
    case 'unknown-part':
    case 'repeated-part':
    case 'wrong-size':
    case 'wrong-md5':
      return mismatchReply(completed, { wantedBytes: upload.sizeBytes, md5: md5 ?? 'none' })
  }
}

function mismatchReply(
  mismatch: Mismatch,
  { wantedBytes, md5 }: { readonly wantedBytes: number; readonly md5: string },
): Reply {
  const refused = (param: string, what: string, code = 'invalid_value'): Reply =>
    replyError({ status: 400, param, code, message: `${param}: ${what}` })
  switch (mismatch.kind) {
    case 'unknown-part':
      return refused('part_ids', `${quoted(mismatch.partId)} is no part of this upload`)
    case 'repeated-part':
      return refused('part_ids', `${quoted(mismatch.partId)} is named twice; allowed: once`)
    case 'wrong-size': {
      const what = `these parts have ${mismatch.sizeBytes} bytes together; wanted the ${wantedBytes} that the upload was made for`
      return refused('part_ids', what, 'wrong_size')
    }
    case 'wrong-md5': {
      const what = `got ${md5}; the parts in this order come to ${mismatch.md5}. The upload is as it was: name them in another order, or send what is wrong again`
      return refused('md5', what, 'wrong_md5')
    }
  }
}

/** POST /v1/uploads/{id}/cancel: what had come is dropped. */
export async function cancelUpload(call: Call): Promise<Reply> {
  const upload = await uploadOf(call)
  if (upload === undefined) return noSuchUpload(call)
  const body = await readBody(call.request, z.strictObject({}))
  if (body.kind === 'refused') return body.reply
  const cancelled = await call.context.uploads.cancel(upload.id)
  if (cancelled === undefined) return noSuchUpload(call)
  if (cancelled.kind === 'closed') return closedReply(call, cancelled)
  return reply(200, uploadBody(cancelled.upload))
}

/** OpenAI's clients send again by themselves what is answered with 409, and with no other of these. */
const closedAs: Readonly<Record<Closed['why'], { readonly status: 400 | 409; readonly what: string }>> = {
  expired: { status: 400, what: 'has expired: its hour is over; make another with POST /v1/uploads' },
  cancelled: { status: 400, what: 'was cancelled; make another with POST /v1/uploads' },
  completed: { status: 400, what: 'is completed, of the parts that were named then, and stays so' },
  completing: {
    status: 409,
    what: 'is being completed; name the same parts again, which comes to the same file, or make a new upload',
  },
}

function closedReply({ request }: Call, { why }: Closed): Reply {
  const { status, what } = closedAs[why]
  const message = `upload ${quoted(request.params['id'] ?? '')} ${what}`
  return replyError({ status, param: 'upload_id', code: `upload_${why}`, message })
}

/** What belongs to another key is not there for this one. */
async function uploadOf({ request, context, caller }: Call): Promise<Upload | undefined> {
  const upload = await context.uploads.get(request.params['id'] ?? '')
  return upload !== undefined && mayUse(caller, upload.owner) ? upload : undefined
}

function noSuchUpload({ request }: Call): Reply {
  return notFound(`upload ${quoted(request.params['id'] ?? '')}`)
}

/** OpenAI's Upload object. */
function uploadBody(upload: Upload): object {
  const { id, sizeBytes: bytes, createdAt, filename, purpose, status, expiresAt, file } = upload
  return {
    id,
    object: 'upload',
    bytes,
    created_at: seconds(createdAt),
    filename,
    purpose,
    status,
    expires_at: seconds(expiresAt),
    ...(status === 'completed' ? { file: file === null ? null : fileBody(file) } : {}),
  }
}

/** OpenAI's UploadPart object. */
function partBody(uploadId: string, { id, createdAt }: UploadPart): object {
  return { id, object: 'upload.part', created_at: seconds(createdAt), upload_id: uploadId }
}
