import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { HostClock } from '../clock.ts'
import type { HttpTrigger } from '../function-metadata.ts'
import {
  bounded,
  BodyTooLong,
  isSized,
  readHeaders,
  readQuery,
  readTarget,
  readWhole,
  sendHttpResponse,
  sendLast,
  sendStatus,
  type Target,
} from './http-message.ts'
import { functionChooser } from './http-route.ts'
import { streamInvocation } from './http-stream.ts'
import type { Listener } from '../listener.ts'
import type { LogLevel } from '../log-entry.ts'
import type { KeptWorker } from '../worker/worker-keeper.ts'

export type HttpFunction = { readonly name: string } & Pick<HttpTrigger, 'methods' | 'route'>

type HttpListener = Listener & { readonly url: string }

/** What the real host's server, Kestrel, takes: 31 KB of headers passed, 40 KB got its 431 (seen, 2026-11-30). */
const headerBytesMax = 32 * 1024

/**
 * Serves the HTTP triggers on 127.0.0.1 only. Function keys are not checked, as in Core Tools. While there is no
 * worker, requests wait for the new one.
 */
export async function startHttpServer(options: {
  readonly functions: readonly HttpFunction[]
  readonly routePrefix: string
  readonly port: number
  readonly bodyBytesMax: number
  /** AzureWebJobsDisableHomepage. */
  readonly hasHomepage: boolean
  readonly worker: Pick<KeptWorker, 'current' | 'streamUri'>
  readonly clock: HostClock
  readonly log: (source: string, level: LogLevel, message: string) => void
}): Promise<HttpListener> {
  const { functions, routePrefix, port, bodyBytesMax, hasHomepage, worker, clock, log } = options
  const answering = new Set<Promise<void>>()
  const choose = functionChooser(functions, routePrefix)

  const server = createServer({ maxHeaderSize: headerBytesMax }, (request, response) => {
    const target = readTarget(request)
    if (target === undefined || target.kind === 'refused') return sendLast(request, response, 400)
    const method = request.method ?? 'GET'
    const found = target.kind === 'read' ? choose(method, target.segments) : undefined
    if (found === undefined) return sendHostsOwn(response, method, target)
    const answered = answer({ ...found, target, request, response }).finally(() => answering.delete(answered))
    answering.add(answered)
  })
  server.on('clientError', refuseUnread)
  const url = await listen()

  return {
    url,
    stop: async () => {
      server.close()
      server.closeIdleConnections()
      await Promise.all(answering)
    },
    running: () => answering.size,
    abandon: () => server.closeAllConnections(),
  }

  async function answer(asked: {
    readonly chosen: HttpFunction
    readonly params: Readonly<Record<string, string>>
    readonly target: Target
    readonly request: IncomingMessage
    readonly response: ServerResponse
  }): Promise<void> {
    const { chosen, params, target, request, response } = asked
    const path = `${target.kind === 'read' ? target.forwarded : '/'}${target.query}`
    const query = readQuery(target)
    try {
      const isStreamed = worker.streamUri !== undefined && !isSized(request)
      const body = isStreamed ? bounded(request, bodyBytesMax) : await readWhole(request, bodyBytesMax)
      // The client left while it was sending: nothing was begun.
      if (body === undefined) return
      // Not before the body is there: the worker may have been replaced meanwhile.
      const current = await worker.current()
      const { streamUri } = current
      if (streamUri !== undefined) {
        await streamInvocation({
          request,
          response,
          body,
          path,
          params,
          query,
          streamUri,
          clock,
          invoke: async (input) => current.invoke(chosen.name, input),
        })
        return
      }
      const bytes = Buffer.isBuffer(body) ? body : undefined
      if (bytes === undefined) throw new Error('a body came in pieces to an app that takes none')
      const http = {
        method: request.method ?? 'GET',
        url: `http://${request.headers.host ?? '127.0.0.1'}${path}`,
        headers: readHeaders(request),
        query,
        params,
        ...(bytes.length > 0 && { body: { bytes } }),
      }
      sendHttpResponse(response, (await current.invoke(chosen.name, { data: { http } }))?.http)
    } catch (error) {
      const why =
        error instanceof BodyTooLong
          ? `the body is longer than FUNCTIONS_REQUEST_BODY_SIZE_LIMIT allows (${bodyBytesMax} bytes)`
          : String(error)
      log(chosen.name, 'error', `failed on ${request.method}: ${why}`)
      if (response.headersSent) response.destroy()
      else if (error instanceof BodyTooLong) sendLast(request, response, 500)
      else sendStatus(response, 500)
    }
  }

  /** What no function takes: the host's own paths, its start page, and nothing. */
  function sendHostsOwn(response: ServerResponse, method: string, target: Target): void {
    const segments = target.kind === 'read' ? target.segments : undefined
    if (segments?.[0]?.toLowerCase() === 'admin') return sendStatus(response, 401)
    const isHomepage = segments?.length === 0 && ['GET', 'HEAD', 'POST'].includes(method)
    if (!isHomepage) return sendStatus(response, 404)
    if (!hasHomepage) return sendStatus(response, 204)
    response.writeHead(200, { 'content-type': 'text/html' }).end(homepage)
  }

  async function listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject)
        resolve()
      })
    })
    const address = server.address()
    if (address === null || typeof address === 'string')
      throw new Error(`the HTTP server got no port: ${address}`)
    return `http://127.0.0.1:${address.port}`
  }
}

const homepage = '<!doctype html><title>Functions</title><p>The local Functions host is running.</p>\n'

/** What could not be read as a request. A method that is none is nobody's, as recorded; Node would say 400. */
function refuseUnread(error: Error, socket: Duplex): void {
  if (!socket.writable) return void socket.destroy()
  const code = 'code' in error ? error.code : undefined
  const status =
    code === 'HPE_INVALID_METHOD'
      ? '404 Not Found'
      : code === 'HPE_HEADER_OVERFLOW'
        ? '431 Request Header Fields Too Large'
        : code === 'ERR_HTTP_REQUEST_TIMEOUT'
          ? '408 Request Timeout'
          : '400 Bad Request'
  socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`)
}
