import { randomUUID } from 'node:crypto'
import {
  request as requestHttp,
  type ClientRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { HostClock } from '../clock.ts'
import { BodyTooLong, readHeaders, sendLast, sendStatus } from './http-message.ts'
import type { TypedData } from '../programming-model.ts'
import type { InvocationInput } from '../worker/worker-messages.ts'

/** An exchange with the library in which nothing moves for so long is ended. Recorded (2026-11-30): after 242 s. */
const quietMs = 242_000

/** How often an exchange is looked at. */
const lookMs = 1_000

/**
 * Runs a function whose request and response go through the library's own server, in pieces as they come; the
 * invocation itself carries only the headers and parameters.
 *
 * A function that throws, or a body of its that breaks off, does not end the exchange: the library leaves it open, and
 * only silence ends it. Throws what the function threw, when all of it is over.
 */
export async function streamInvocation(options: {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Path and query as the function sees them. */
  readonly path: string
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, string>>
  /** Whole, or as it comes. */
  readonly body: Buffer | AsyncIterable<Buffer>
  readonly streamUri: string
  readonly clock: HostClock
  readonly invoke: (input: InvocationInput & { readonly invocationId: string }) => Promise<unknown>
}): Promise<void> {
  const { request, response, body, path, params, query, streamUri, clock, invoke } = options
  const invocationId = randomUUID()
  const forwarded = requestHttp(new URL(path, streamUri), {
    // A connection of its own: one that was used before may be closed at the same moment by the other side.
    agent: false,
    method: request.method ?? 'GET',
    headers: {
      ...request.headers,
      'x-ms-invocation-id': invocationId,
      'x-forwarded-host': request.headers.host ?? '127.0.0.1',
      'x-forwarded-proto': 'http',
    },
  })
  const triggerMetadata: Record<string, TypedData> = {
    Headers: { json: JSON.stringify(readHeaders(request)) },
    Query: { json: JSON.stringify(query) },
  }
  for (const [name, value] of Object.entries(params)) triggerMetadata[name] = { string: value }
  // The library has the request then, for which its invocation waits; only now may the client's leaving end it.
  if (!(await isReached(forwarded))) return sendStatus(response, 500)
  const [invoked] = await Promise.allSettled([
    invoke({ invocationId, data: { http: {} }, triggerMetadata }),
    exchange({ request, response, forwarded, body: piecesOf(body), clock }),
  ])
  if (invoked.status === 'rejected') throw invoked.reason
}

/** Passes body and answer on, and ends with the response complete, or broken. */
async function exchange(parts: {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly forwarded: ClientRequest
  readonly body: AsyncIterable<Buffer>
  readonly clock: HostClock
}): Promise<void> {
  const { request, response, forwarded, body, clock } = parts
  const over = new AbortController()
  if (response.destroyed) over.abort()
  response.once('close', () => over.abort())
  const quiet = untilQuiet(forwarded, clock, over.signal).then(() => over.abort())
  const sent = pipeline(body, forwarded, { signal: over.signal })
  const passed = passOn(forwarded, response, over.signal)
  const [sending, passing] = await Promise.allSettled([sent, passed.finally(() => over.abort())])
  await quiet
  forwarded.destroy()
  const isTooLong = sending.status === 'rejected' && sending.reason instanceof BodyTooLong
  if (response.headersSent) {
    if (passing.status === 'rejected') response.destroy()
    // What of the body was not wanted flows past, so that the connection can be used again.
    else request.resume()
  } else if (isTooLong) sendLast(request, response, 500)
  else sendStatus(response, 500)
}

function piecesOf(body: Buffer | AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  if (!Buffer.isBuffer(body)) return body
  return Readable.from(body.length === 0 ? [] : [body])
}

/** Resolves when nothing has moved between host and library for so long, or when it is over. */
async function untilQuiet(forwarded: ClientRequest, clock: HostClock, over: AbortSignal): Promise<void> {
  let moved = 0
  let movedAt = clock.now()
  while (!over.aborted && clock.now() - movedAt < quietMs) {
    await clock.pause(lookMs, over)
    const { bytesRead = 0, bytesWritten = 0 } = forwarded.socket ?? {}
    if (bytesRead + bytesWritten === moved) continue
    moved = bytesRead + bytesWritten
    movedAt = clock.now()
  }
}

async function isReached(forwarded: ClientRequest): Promise<boolean> {
  forwarded.on('error', () => {})
  forwarded.flushHeaders()
  const reached = new Promise<boolean>((resolve) => {
    forwarded.once('socket', (socket) => {
      socket.once('connect', () => resolve(true))
    })
    forwarded.once('close', () => resolve(false))
  })
  return reached
}

/** What concerns one connection only. */
const ofConnection = new Set(['connection', 'keep-alive', 'transfer-encoding'])

async function passOn(forwarded: ClientRequest, response: ServerResponse, over: AbortSignal): Promise<void> {
  const answered = await new Promise<IncomingMessage>((resolve, reject) => {
    forwarded.once('response', resolve)
    forwarded.on('error', reject)
    over.addEventListener('abort', () => reject(new Error('it is over')), { once: true })
  })
  const headers = Object.entries(answered.headers).filter(([name]) => !ofConnection.has(name))
  response.writeHead(answered.statusCode ?? 200, Object.fromEntries(headers))
  // An event stream may stay silent for long after its headers, and the client waits for them.
  response.flushHeaders()
  await pipeline(answered, response, { signal: over })
}
