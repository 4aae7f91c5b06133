import { limits } from '../../core/limits.ts'
import { timing } from '../../core/timing.ts'
import type { StoredFile } from '../../ports/files.ts'
import { seconds } from '../reply.ts'

/** What somebody may send a file for. */
export const sentPurposes = ['batch', 'vision'] as const

export type SentPurpose = (typeof sentPurposes)[number]

/** Of a file, in whichever way it came. */
export const fileBytesMax: Readonly<Record<SentPurpose, number>> = {
  batch: limits.batchFileBytesMax,
  vision: limits.visionFileBytesMax,
}

/** Bounds of a form that brings one file, or one part of it. */
export const oneFile = {
  fieldsMax: limits.uploadFieldsMax,
  fieldBytesMax: limits.uploadFieldBytesMax,
  filesMax: 1,
  withinMs: timing.fileUploadMs,
  stallMs: timing.uploadStallMs,
}

/** How long a file is kept where `expiresAfterSeconds` is not given: as OpenAI's, a batch's lines for 30 days, an image until it is deleted. */
export function fileExpiryMs(purpose: SentPurpose, expiresAfterSeconds: number | undefined): number | null {
  if (expiresAfterSeconds !== undefined) return 1_000 * expiresAfterSeconds
  return purpose === 'batch' ? 30 * dayMs : null
}

const dayMs = 24 * 3_600_000

/** OpenAI's File object. */
export function fileBody(file: StoredFile): object {
  return {
    id: file.id,
    object: 'file',
    bytes: file.sizeBytes,
    created_at: seconds(file.createdAt),
    ...(file.expiresAt === null ? {} : { expires_at: seconds(file.expiresAt) }),
    filename: file.filename,
    purpose: file.purpose,
    status: 'processed',
  }
}
