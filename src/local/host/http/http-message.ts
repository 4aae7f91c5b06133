import type { IncomingMessage, ServerResponse } from 'node:http'
import { readPath, type ReadPath } from './http-path.ts'
import type { HttpCookie, HttpData } from '../programming-model.ts'

/** Where a request goes: its path as the real host's server reads it, and its query as it came, with its mark. */
export type Target = ReadPath & { readonly query: string }

/** Undefined when the Host header, or the path, is none. */
export function readTarget({ url = '/', headers }: IncomingMessage): Target | undefined {
  if (!url.startsWith('/') || URL.parse(`http://${headers.host ?? '127.0.0.1'}/`) === null) return undefined
  const mark = url.indexOf('?')
  const [path, query] = mark < 0 ? [url, ''] : [url.slice(0, mark), url.slice(mark)]
  return { ...readPath(path), query }
}

/** The host joins a header's values with commas and writes its name in small letters. */
export function readHeaders(request: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, values = []] of Object.entries(request.headersDistinct)) headers[name] = values.join(', ')
  return headers
}

/** The host joins the values of a repeated query parameter with a comma and leaves out empty ones. */
export function readQuery({ query }: Target): Record<string, string> {
  const search = new URLSearchParams(query)
  const values: Record<string, string> = {}
  for (const name of new Set(search.keys())) {
    const value = search.getAll(name).join(',')
    if (value !== '') values[name] = value
  }
  return values
}

/** A body that is longer than the host takes. */
export class BodyTooLong extends Error {}

/** Whether the body's length is said before it comes: the real host reads such a one whole, whatever its function does. */
export function isSized({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] === undefined
}

/** A body, whole; undefined when the client left before it was all there. Throws `BodyTooLong`. */
export async function readWhole(request: IncomingMessage, bytesMax: number): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) throw new BodyTooLong()
  const chunks: Buffer[] = []
  try {
    for await (const chunk of bounded(request, bytesMax)) chunks.push(chunk)
  } catch (error) {
    if (request.destroyed) return undefined
    throw error
  }
  return Buffer.concat(chunks)
}

/** The body as it comes. Throws `BodyTooLong`, and leaves the request open: its client is still to be answered. */
export async function* bounded(request: IncomingMessage, bytesMax: number): AsyncIterable<Buffer> {
  const body: AsyncIterable<Buffer> = {
    [Symbol.asyncIterator]: () => request.iterator({ destroyOnReturn: false }),
  }
  let sizeBytes = 0
  for await (const chunk of body) {
    sizeBytes += chunk.length
    if (sizeBytes > bytesMax) throw new BodyTooLong()
    yield chunk
  }
}

/** The client is still sending what nobody reads any more: it is read on for so long, or it would not hear the answer. */
const lingerMs = 5_000

/** The host's own answers have no body. */
export function sendStatus(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'content-length': '0' }).end()
}

/** As `sendStatus`, and the connection ends with it. */
export function sendLast(request: IncomingMessage, response: ServerResponse, status: number): void {
  response.writeHead(status, { 'content-length': '0', connection: 'close' }).flushHeaders()
  if (request.complete) {
    response.end()
    return
  }
  const end = setTimeout(() => response.end(), lingerMs)
  request.once('close', () => clearTimeout(end))
  request.once('end', () => response.end())
  request.resume()
}

/** Sends what the library made of the function's result; a function that gave none is answered with 204. */
export function sendHttpResponse(response: ServerResponse, http: HttpData | undefined): void {
  response.statusCode = http === undefined ? 204 : Number(http.statusCode ?? 200)
  for (const [name, value] of Object.entries(http?.headers ?? {})) {
    // Length and framing are Node's to say, from the body it really sends.
    if (!['content-length', 'transfer-encoding', 'connection'].includes(name)) response.setHeader(name, value)
  }
  const cookies = (http?.cookies ?? []).map(writeCookie)
  if (cookies.length > 0) response.setHeader('set-cookie', cookies)
  response.end(http?.body?.bytes)
}

const sameSite = { lax: 'Lax', strict: 'Strict', explicitNone: 'None' } as const

function writeCookie(cookie: HttpCookie): string {
  const parts = [`${encodeURIComponent(cookie.name)}=${encodeURIComponent(cookie.value)}`]
  if (cookie.expires?.value !== undefined) {
    parts.push(`Expires=${new Date(cookie.expires.value.seconds * 1000).toUTCString()}`)
  }
  if (cookie.maxAge?.value !== undefined) parts.push(`Max-Age=${cookie.maxAge.value}`)
  if (cookie.domain?.value !== undefined) parts.push(`Domain=${cookie.domain.value}`)
  if (cookie.path?.value !== undefined) parts.push(`Path=${cookie.path.value}`)
  if (cookie.secure?.value === true) parts.push('Secure')
  if (cookie.httpOnly?.value === true) parts.push('HttpOnly')
  if (cookie.sameSite !== undefined && cookie.sameSite !== 'none') {
    parts.push(`SameSite=${sameSite[cookie.sameSite]}`)
  }
  return parts.join('; ')
}
