import type { Readable } from 'node:stream'
import { Busboy, type BusboyInstance } from '@fastify/busboy'
import type { HttpRequest } from '@azure/functions'
import { chunksInTime, type Patience } from './chunks.ts'
import { quoted } from '../fault.ts'
import { RequestRefused, type ApiError } from '../reply.ts'

type MultipartBounds = Patience & {
  readonly fieldsMax: number
  readonly fieldBytesMax: number
  readonly filesMax: number
}

export type FilePart = {
  readonly name: string
  /** Without folders; empty where none was given. */
  readonly filename: string
  readonly contentType: string
  /** May be left unread, as a whole or from some byte on. */
  readonly content: AsyncIterable<Uint8Array>
}

export type FieldPart = { readonly name: string; readonly value: string }

/** `files` are what the reader of files made of them, also of a body that was refused after them. */
export type Multipart<T> =
  | { readonly kind: 'read'; readonly fields: readonly FieldPart[]; readonly files: readonly T[] }
  | { readonly kind: 'refused'; readonly fault: ApiError; readonly files: readonly T[] }

/**
 * Reads a multipart body as it comes: files go to `readFile` one after the other, no faster than it takes them, fields
 * are collected. A faulty body is read no further than to its fault where it can be, and to its end where the client
 * would not hear the answer otherwise.
 */
export async function readMultipart<T>(
  request: Pick<HttpRequest, 'headers' | 'body'>,
  bounds: MultipartBounds,
  readFile: (part: FilePart) => Promise<T>,
): Promise<Multipart<T>> {
  const contentType = request.headers.get('content-type') ?? ''
  if (!/^multipart\/form-data\s*(?:;|$)/i.test(contentType)) {
    const got = contentType === '' ? 'it is missing' : `got ${quoted(contentType)}`
    const message = `Content-Type: ${got}; allowed: multipart/form-data`
    return { kind: 'refused', fault: { status: 415, code: 'unsupported_media_type', message }, files: [] }
  }
  const parser = parserOf(contentType, bounds)
  if (parser === undefined) return { ...refused('its content type names no boundary'), files: [] }
  const collected = collect(parser, readFile)
  const fault = await feed(parser, chunksInTime(request.body, bounds)).catch((error: unknown) =>
    collected.broken(error),
  )
  // None of those that read files may go on when the request is answered.
  const settled = await Promise.allSettled(collected.files)
  const files = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  for (const each of settled) {
    if (each.status === 'rejected' && !(each.reason instanceof BrokenBody)) throw each.reason
  }
  if (fault?.cause instanceof RequestRefused) return { kind: 'refused', fault: fault.cause.answer, files }
  if (fault !== undefined) return { ...refused(fault.message), files }
  const { fields, excess } = collected
  return excess === undefined ? { kind: 'read', fields, files } : { ...refused(excess), files }
}

/** A body that ends early, or is no multipart. Whoever reads one of its files meets it too. */
class BrokenBody extends Error {}

function refused(what: string): { readonly kind: 'refused'; readonly fault: ApiError } {
  const message = `the body is not the multipart/form-data that it should be: ${what}`
  return { kind: 'refused', fault: { status: 400, code: 'invalid_multipart', message } }
}

/** Names and types of a part. */
const partHeadBytesMax = 8 * 1024

/** Undefined when the content type's parameters cannot be used: all that the parser refuses at its start. */
function parserOf(contentType: string, bounds: MultipartBounds): BusboyInstance | undefined {
  try {
    return new Busboy({
      headers: { 'content-type': contentType },
      limits: {
        fields: bounds.fieldsMax,
        fieldSize: bounds.fieldBytesMax,
        files: bounds.filesMax,
        headerSize: partHeadBytesMax,
      },
    })
  } catch (error) {
    if (error instanceof Error) return undefined
    throw error
  }
}

type Collected<T> = {
  readonly fields: readonly FieldPart[]
  readonly files: readonly Promise<T>[]
  /** What there was too much of. */
  readonly excess: string | undefined
  /** Ends the file that is being read. */
  broken(error: unknown): BrokenBody
}

function collect<T>(parser: BusboyInstance, readFile: (part: FilePart) => Promise<T>): Collected<T> {
  const fields: FieldPart[] = []
  const files: Promise<T>[] = []
  let open: Readable | undefined
  let excess: string | undefined
  parser.on('field', (name, value, _isNameCut, isValueCut) => {
    if (isValueCut) excess ??= 'a field is too long'
    fields.push({ name, value })
  })
  parser.on('file', (name, stream, filename, _encoding, contentType) => {
    open = stream
    // The reader meets it; the stream itself must not end the process when nobody reads any more.
    stream.on('error', () => {})
    const reading = readFile({ name, filename: filename ?? '', contentType, content: partContent(stream) })
    files.push(reading)
    // A part that nobody reads any more must still flow past, or nothing behind it would ever come. What its reader
    // threw is looked at when the body has been read.
    const flowPast = (): unknown => stream.resume()
    void reading.then(flowPast, flowPast)
  })
  parser.on('fieldsLimit', () => (excess ??= 'it has too many fields'))
  parser.on('filesLimit', () => (excess ??= 'it has too many files'))
  return {
    fields,
    files,
    get excess() {
      return excess
    },
    broken(error) {
      const broken = new BrokenBody(error instanceof Error ? error.message : 'it broke off', { cause: error })
      open?.destroy(broken)
      return broken
    },
  }
}

/** Stays open when its reader has enough. All that can go wrong with it is the body's fault. */
async function* partContent(stream: Readable): AsyncIterable<Uint8Array> {
  const chunks: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => stream.iterator({ destroyOnReturn: false }),
  }
  try {
    for await (const chunk of chunks) yield chunk
  } catch (error) {
    throw error instanceof BrokenBody ? error : new BrokenBody('a file broke off', { cause: error })
  }
}

/** Writes the body into the parser as fast as its parts are taken; throws when it breaks off, or is faulty. */
async function feed(parser: BusboyInstance, body: AsyncIterable<Uint8Array>): Promise<undefined> {
  const parsed = new Promise<void>((resolve, reject) => {
    parser.once('finish', resolve)
    parser.on('error', reject)
  })
  const write = async (): Promise<void> => {
    for await (const chunk of body) {
      await new Promise<void>((resolve, reject) => {
        parser.write(chunk, (error) => (error === undefined || error === null ? resolve() : reject(error)))
      })
    }
    parser.end()
  }
  await Promise.all([write(), parsed])
}
