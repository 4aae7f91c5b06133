import { randomUUID } from 'node:crypto'
import { request as requestHttp } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Server } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { LocalFunction } from './function-metadata.ts'
import { present, readHeaders } from './http-message.ts'
import type { Invoke } from './invocation.ts'
import type { ProgrammingModel, TypedData } from './programming-model.ts'

export type StreamServer = {
  /** Undefined when the app has not turned on `enableHttpStream`. */
  readonly streamUri: string | undefined
  close(): void
}

/**
 * Locks the app's setup, which must happen once before the first invocation. With `enableHttpStream` the library then
 * starts a server of its own, on every interface and with no way to close it; so it is caught while it starts, and
 * kept to 127.0.0.1.
 */
export async function startStreamServer(model: ProgrammingModel): Promise<StreamServer> {
  const servers: Server[] = []
  // oxlint-disable-next-line typescript/unbound-method -- the proxy hands `this` on
  const listen = Server.prototype.listen
  Server.prototype.listen = new Proxy(listen, {
    apply: (target, self: Server, [callback]: unknown[]) => {
      servers.push(self)
      self.on('request', ({ headers }: IncomingMessage) => arrived.add(String(headers['x-ms-invocation-id'])))
      return Reflect.apply(target, self, [0, '127.0.0.1', callback])
    },
  })
  try {
    const { HttpUri: uri } = await model.getCapabilities({})
    return {
      streamUri: uri?.replace('localhost', '127.0.0.1'),
      close: () => {
        for (const server of servers) server.close()
      },
    }
  } finally {
    Server.prototype.listen = listen
  }
}

/** Invocations whose request has come to the library, which waits for it without end. */
const arrived = new Set<string>()

/**
 * Runs a function whose request and response go through the library's own server, in pieces as they come; the
 * invocation itself carries only the headers and parameters. Throws what the function threw.
 */
export async function streamInvocation(options: {
  readonly called: LocalFunction
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly params: Record<string, string | undefined>
  readonly query: Record<string, string>
  readonly streamUri: string
  readonly bodyBytesMax: number
  readonly invoke: Invoke
}): Promise<void> {
  const { called, request, response, params, query, streamUri, bodyBytesMax, invoke } = options
  if (Number(request.headers['content-length'] ?? 0) > bodyBytesMax) return refuseBody(request, response)
  const invocationId = randomUUID()
  const forwarded = requestHttp(streamUri, {
    path: request.url ?? '/',
    method: request.method ?? 'GET',
    headers: {
      ...request.headers,
      'x-ms-invocation-id': invocationId,
      'x-forwarded-host': request.headers.host ?? '127.0.0.1',
      'x-forwarded-proto': 'http',
    },
  })
  // Nobody listens to the rest when the client leaves or the function has failed.
  const given = new AbortController()
  response.once('close', () => {
    given.abort()
    // As the real host does: the function can see that its client has left.
    forwarded.destroy()
  })
  const left = new Promise<void>((resolve) => {
    given.signal.addEventListener('abort', () => {
      if (!arrived.has(invocationId)) resolve()
    })
  })
  const exchange = Promise.allSettled([
    pipeline(bounded(request, bodyBytesMax), forwarded, { signal: given.signal }),
    passOn(forwarded, response, given.signal),
  ])
  const triggerMetadata: Record<string, TypedData> = {
    Headers: { json: JSON.stringify(readHeaders(request)) },
    Query: { json: JSON.stringify(query) },
  }
  for (const [name, value] of Object.entries(present(params))) triggerMetadata[name] = { string: value }
  try {
    // A client that left before the library heard of it is answered by nobody.
    await Promise.race([invoke(called, { invocationId, data: { http: {} }, triggerMetadata }), left])
    const [sent] = await exchange
    if (sent.status === 'rejected' && sent.reason instanceof BodyTooLong) refuseBody(request, response)
    else if (!response.writableEnded) response.destroy()
  } finally {
    given.abort()
    forwarded.destroy()
    arrived.delete(invocationId)
  }
}

class BodyTooLong extends Error {}

/** Leaves the request open when it is too long: its client is still to be answered. */
async function* bounded(request: IncomingMessage, bodyBytesMax: number): AsyncIterable<Buffer> {
  const body: AsyncIterable<Buffer> = {
    [Symbol.asyncIterator]: () => request.iterator({ destroyOnReturn: false }),
  }
  let sizeBytes = 0
  for await (const chunk of body) {
    sizeBytes += chunk.length
    if (sizeBytes > bodyBytesMax) throw new BodyTooLong(`the body passes ${bodyBytesMax} bytes`)
    yield chunk
  }
}

/** Reads on, to nowhere: a client that cannot send the rest would not hear the answer. */
function refuseBody(request: IncomingMessage, response: ServerResponse): void {
  request.resume()
  if (response.headersSent) response.destroy()
  else response.writeHead(413, { 'content-length': '0' }).end()
}

async function passOn(
  forwarded: ReturnType<typeof requestHttp>,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const answered = await new Promise<IncomingMessage>((resolve, reject) => {
    forwarded.once('response', resolve)
    forwarded.once('error', reject)
    signal.addEventListener('abort', () => reject(new Error('the client has left')), { once: true })
  })
  const { 'x-ms-invocation-id': _, ...headers } = answered.headers
  response.writeHead(answered.statusCode ?? 200, headers)
  // An event stream may stay silent for long after its headers, and the client waits for them.
  response.flushHeaders()
  await pipeline(answered, response, { signal })
}
