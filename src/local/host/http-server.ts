import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import findMyWay from 'find-my-way'
import type { LogLevel } from './log-entry.ts'
import type { HttpTrigger, LocalFunction } from './function-metadata.ts'
import { readHttpRequest, readQuery, readUrl, sendHttpResponse } from './http-message.ts'
import { readRoute } from './http-route.ts'
import { streamInvocation } from './http-stream.ts'
import type { Invoke } from './invocation.ts'
import { describeError } from './listener.ts'
import type { Listener } from './listener.ts'

export type HttpFunction = { readonly called: LocalFunction; readonly trigger: HttpTrigger }

export type HttpListener = Listener & { readonly url: string }

const methods = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT'] as const

/** Node itself refuses a request whose line and headers pass 16 KiB, so no parameter is ever cut by this. */
const maxParamLength = 16 * 1024

/**
 * Serves the HTTP triggers on 127.0.0.1 only. Function keys are not checked, as in Core Tools. `streamUri` is where the
 * library serves requests itself, when the app has turned on streaming.
 */
export async function startHttpServer(options: {
  readonly functions: readonly HttpFunction[]
  readonly routePrefix: string
  readonly port: number
  readonly streamUri: string | undefined
  readonly bodyBytesMax: number
  readonly invoke: Invoke
  readonly log: (source: string, level: LogLevel, message: string) => void
}): Promise<HttpListener> {
  const { functions, routePrefix, port, streamUri, bodyBytesMax, invoke, log } = options
  const answering = new Set<Promise<void>>()
  let stopping = false

  // ASP.NET's routing is deaf to letter case and a trailing slash.
  const router = findMyWay({
    caseSensitive: false,
    ignoreTrailingSlash: true,
    maxParamLength,
    defaultRoute: refuse,
    // A path that cannot be decoded has no parameters: only what takes any path can take it.
    onBadUrl: (path, request, response) => {
      const url = `/${encodeURIComponent(path)}`
      router.lookup(Object.assign(request, { url }), response)
    },
  })
  for (const { called, trigger } of functions) {
    const wanted = methods.filter((method) => trigger.methods.includes(method))
    for (const { path, restName, rest: form } of readRoute(routePrefix, trigger.route)) {
      router.on(wanted, path, (request, response, { '*': rest, ...named }) => {
        if (form?.test(rest ?? '') === false) return sendStatus(response, 404)
        const params = restName === undefined ? named : { ...named, [restName]: rest }
        const answered = answer(called, request, response, params).finally(() => answering.delete(answered))
        answering.add(answered)
      })
    }
  }

  const server = createServer((request, response) => {
    if (stopping) sendStatus(response, 503, { connection: 'close' })
    else if (readUrl(request) === null) sendStatus(response, 400, { connection: 'close' })
    else router.lookup(request, response)
  })
  const url = await listen()

  return {
    url,
    stop: async () => {
      stopping = true
      server.close()
      server.closeIdleConnections()
      await Promise.all(answering)
    },
    running: () => answering.size,
    abandon: () => server.closeAllConnections(),
  }

  async function answer(
    called: LocalFunction,
    request: IncomingMessage,
    response: ServerResponse,
    params: Record<string, string | undefined>,
  ): Promise<void> {
    try {
      if (streamUri !== undefined) {
        await streamInvocation({
          called,
          request,
          response,
          params,
          query: readQuery(request),
          streamUri,
          bodyBytesMax,
          invoke,
        })
        return
      }
      const read = await readHttpRequest(request, params, bodyBytesMax)
      if (read.kind === 'refused') return sendStatus(response, read.status, { connection: 'close' })
      if (read.kind === 'gone') return
      const returned = await invoke(called, { data: { http: read.data } })
      sendHttpResponse(response, returned?.http)
    } catch (error) {
      log(called.name, 'error', `failed on ${request.method} ${request.url}: ${describeError(error)}`)
      if (response.headersSent) response.destroy()
      else sendStatus(response, 500)
    }
  }

  /** No function takes this method and path: 405 when one takes the path, as HTTP has it; the real host says 404. */
  function refuse(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/'
    const allowed = methods.filter((method) => router.find(method, path) !== null)
    if (allowed.length === 0) sendStatus(response, 404)
    else sendStatus(response, 405, { allow: allowed.join(', ') })
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

function sendStatus(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-length': '0', ...headers }).end()
}
