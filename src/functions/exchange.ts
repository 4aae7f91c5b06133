import { subscribe } from 'node:diagnostics_channel'
import { ServerResponse } from 'node:http'
import { timing } from '../core/timing.ts'
import { gaveUp, replyError, type Reply } from '../http/reply.ts'

/**
 * An HTTP request on its way through the library, which gives a function no hold of it. It begins with what comes first:
 * the request itself, or the call of its function.
 */
export type Exchange = {
  readonly id: string
  /** What the library writes the answer to; undefined until the request has come. */
  response: ServerResponse | undefined
  /** `none`: nobody has called a function for it yet. */
  invocation: 'none' | 'running' | 'over'
  /** Aborted when nothing of it has moved for `timing.quietMs` since its present step began. */
  quiet: AbortController
  quietMs: number
  /** In either direction, when it was looked at last. */
  movedBytes: number
}

const all = new Set<Exchange>()
const byId = new Map<string, Exchange>()
let looking: NodeJS.Timeout | undefined

/** From here on requests are known. Source of the names: the library's `httpProxy.ts`. */
export function watchExchanges(): void {
  subscribe('http.server.request.start', (message) => {
    const response = responseOf(message)
    const id = response?.req.headers['x-ms-invocation-id']
    if (response === undefined || typeof id !== 'string') return
    const known = byId.get(id)
    // A client may have named the id of another request.
    const exchange = known === undefined || known.response !== undefined ? add(id) : known
    exchange.response = response
    response.once('close', () => {
      if (exchange.invocation === 'over') forget(exchange)
    })
  })
}

function responseOf(message: unknown): ServerResponse | undefined {
  if (typeof message !== 'object' || message === null || !('response' in message)) return undefined
  return message.response instanceof ServerResponse ? message.response : undefined
}

export function exchangeOf(invocationId: string): Exchange | undefined {
  return byId.get(invocationId)
}

/** A function is called for it. */
export function beginExchange(invocationId: string): Exchange {
  const exchange = byId.get(invocationId) ?? add(invocationId)
  exchange.invocation = 'running'
  return exchange
}

/** Begins a step of the invocation, with the whole of the time in which something must move. */
export function beginStep(exchange: Exchange): AbortSignal {
  exchange.quietMs = 0
  exchange.quiet = new AbortController()
  return exchange.quiet.signal
}

/** The invocation is over; its client may still be reading. */
export function endExchange(exchange: Exchange): void {
  exchange.invocation = 'over'
  if (exchange.response?.closed !== false) forget(exchange)
}

/**
 * Ends an answer that nobody else ends: with this reply; when it has begun, by breaking the connection behind what was
 * written.
 */
export function endResponse(response: ServerResponse, { status, headers, jsonBody }: Reply): void {
  if (response.destroyed || response.writableFinished) return
  if (response.headersSent) {
    response.req.socket.destroySoon()
    return
  }
  for (const name of response.getHeaderNames()) if (!isOfAnyReply(name)) response.removeHeader(name)
  const body = JSON.stringify(jsonBody)
  response.writeHead(status, { ...headers, 'content-type': 'application/json' }).end(body)
}

/** Headers of CORS, which may be set already and hold for any answer. */
function isOfAnyReply(name: string): boolean {
  return name === 'vary' || name.startsWith('access-control-')
}

function add(id: string): Exchange {
  const exchange: Exchange = {
    id,
    response: undefined,
    invocation: 'none',
    quiet: new AbortController(),
    quietMs: 0,
    movedBytes: 0,
  }
  all.add(exchange)
  byId.set(id, exchange)
  // It keeps no process alive: there is none without the server.
  looking ??= setInterval(look, timing.quietLookMs).unref()
  return exchange
}

function forget(exchange: Exchange): void {
  all.delete(exchange)
  if (byId.get(exchange.id) === exchange) byId.delete(exchange.id)
  if (all.size > 0) return
  clearInterval(looking)
  looking = undefined
}

/** One timer for all: there may be a thousand event streams. Looks are counted, so no clock that is set matters. */
function look(): void {
  for (const exchange of all) {
    const movedBytes = movedBytesOf(exchange)
    exchange.quietMs = movedBytes === exchange.movedBytes ? exchange.quietMs + timing.quietLookMs : 0
    exchange.movedBytes = movedBytes
    if (exchange.quietMs >= timing.quietMs) endQuiet(exchange)
  }
}

/** The socket goes on to the next request once the response is closed. */
function movedBytesOf({ response, movedBytes }: Exchange): number {
  if (response === undefined || response.closed) return movedBytes
  const { bytesRead, bytesWritten } = response.req.socket
  return bytesRead + bytesWritten
}

/** Whoever runs the function ends it. Where nobody does, or it did not help, the answer is ended here. */
function endQuiet(exchange: Exchange): void {
  const { response, invocation, quiet } = exchange
  const isHandled = invocation === 'running' && !quiet.signal.aborted
  exchange.quietMs = 0
  quiet.abort()
  if (isHandled) return
  if (response?.headersSent === true) response.destroy()
  else if (response !== undefined) endResponse(response, replyError(gaveUp))
  forget(exchange)
}
