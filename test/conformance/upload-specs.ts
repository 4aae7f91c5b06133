import type { Schema } from './specs.ts'

/**
 * The extract of OpenAI's specification has no uploads. Source: the types of the openai package (`Upload`, `UploadPart`,
 * `UploadCreateParams`, `UploadCompleteParams`), which is made from that specification; what may be left out there is not
 * required here.
 */
export const uploadSchemas: Readonly<Record<string, Schema>> = {
  Upload: {
    type: 'object',
    properties: {
      id: { type: 'string' },
      object: { const: 'upload' },
      bytes: { type: 'integer' },
      created_at: { type: 'integer', format: 'unixtime' },
      expires_at: { type: 'integer', format: 'unixtime' },
      filename: { type: 'string' },
      purpose: { type: 'string' },
      status: { type: 'string', enum: ['pending', 'completed', 'cancelled', 'expired'] },
      file: { anyOf: [{ $ref: '#/components/schemas/OpenAIFile' }, { type: 'null' }] },
    },
    required: ['id', 'object', 'bytes', 'created_at', 'expires_at', 'filename', 'purpose', 'status'],
  },
  UploadPart: {
    type: 'object',
    properties: {
      id: { type: 'string' },
      object: { const: 'upload.part' },
      created_at: { type: 'integer', format: 'unixtime' },
      upload_id: { type: 'string' },
    },
    required: ['id', 'object', 'created_at', 'upload_id'],
  },
}

const createBody: Schema = {
  type: 'object',
  properties: {
    bytes: { type: 'integer' },
    filename: { type: 'string' },
    mime_type: { type: 'string' },
    purpose: { type: 'string', enum: ['assistants', 'batch', 'fine-tune', 'vision', 'user_data', 'evals'] },
    expires_after: { $ref: '#/components/schemas/FileExpirationAfter' },
  },
  required: ['bytes', 'filename', 'mime_type', 'purpose'],
}

const completeBody: Schema = {
  type: 'object',
  properties: { part_ids: { type: 'array', items: { type: 'string' } }, md5: { type: 'string' } },
  required: ['part_ids'],
}

const partForm: Schema = {
  type: 'object',
  properties: { data: { type: 'string', format: 'binary' } },
  required: ['data'],
}

export const answers = (schema: string): Schema => ({
  responses: {
    200: { content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } } },
  },
})

const takes = (type: string, schema: Schema): Schema => ({ requestBody: { content: { [type]: { schema } } } })

export const uploadPaths: Readonly<Record<string, Schema>> = {
  '/uploads': { post: { ...takes('application/json', createBody), ...answers('Upload') } },
  '/uploads/{upload_id}/parts': {
    post: { ...takes('multipart/form-data', partForm), ...answers('UploadPart') },
  },
  '/uploads/{upload_id}/complete': {
    post: { ...takes('application/json', completeBody), ...answers('Upload') },
  },
  '/uploads/{upload_id}/cancel': { post: answers('Upload') },
}
