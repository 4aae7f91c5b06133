import type { IncomingMessage, ServerResponse } from 'node:http'
import type { HttpCookie, HttpData } from './programming-model.ts'

/** Azure's limit on a request's body where FUNCTIONS_REQUEST_BODY_SIZE_LIMIT does not say otherwise. */
export const usualBodyBytesMax = 100 * 1024 * 1024

/** A request in the host's form; refused with a status; or gone, when the client left before it was all there. */
export type ReadRequest =
  | { readonly kind: 'read'; readonly data: HttpData }
  | { readonly kind: 'refused'; readonly status: 400 | 413 }
  | { readonly kind: 'gone' }

/** Reads a request to its end. */
export async function readHttpRequest(
  request: IncomingMessage,
  params: Record<string, string | undefined>,
  bodyBytesMax: number,
): Promise<ReadRequest> {
  const url = readUrl(request)
  if (url === null) return { kind: 'refused', status: 400 }
  if (Number(request.headers['content-length'] ?? 0) > bodyBytesMax) return { kind: 'refused', status: 413 }
  const chunks: Buffer[] = []
  let sizeBytes = 0
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      sizeBytes += chunk.length
      if (sizeBytes > bodyBytesMax) return { kind: 'refused', status: 413 }
      chunks.push(chunk)
    }
  } catch (error) {
    if (request.destroyed) return { kind: 'gone' }
    throw error
  }
  const data: HttpData = {
    method: request.method ?? 'GET',
    url: url.href,
    headers: readHeaders(request),
    query: readQuery(request),
    params: present(params),
    ...(sizeBytes > 0 && { body: { bytes: Buffer.concat(chunks) } }),
  }
  return { kind: 'read', data }
}

/** The host joins a header's values with commas and writes its name in small letters. */
export function readHeaders(request: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, values = []] of Object.entries(request.headersDistinct)) headers[name] = values.join(', ')
  return headers
}

/** The host joins the values of a repeated query parameter with a comma and leaves out empty ones. */
export function readQuery(request: IncomingMessage): Record<string, string> {
  const search = readUrl(request)?.searchParams ?? new URLSearchParams()
  const query: Record<string, string> = {}
  for (const name of new Set(search.keys())) {
    const value = search.getAll(name).join(',')
    if (value !== '') query[name] = value
  }
  return query
}

/** Only what the path really held: an optional parameter that was left out is not there at all. */
export function present(params: Record<string, string | undefined>): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(params))
    if (value !== undefined && value !== '') kept[name] = value
  return kept
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

/**
 * The whole address that was asked for; null when the Host header, or the path, is none. A path is never resolved: one
 * that begins with two slashes would name another host.
 */
export function readUrl({ url = '/', headers }: IncomingMessage): URL | null {
  return url.startsWith('/') ? URL.parse(`http://${headers.host ?? '127.0.0.1'}${url}`) : null
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
