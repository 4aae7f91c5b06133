import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { ServerResponse } from 'node:http'

/** The library gives a function no hold of its client; these are the responses that it writes, by invocation. */
const responses = new Map<string, ServerResponse>()

/** From here on the clients of streamed replies are known. Source of the names: the library's `httpProxy.ts`. */
export function watchClients(): void {
  subscribe('http.server.request.start', (message) => {
    const response = responseOf(message)
    const id = response?.req.headers['x-ms-invocation-id']
    if (response === undefined || typeof id !== 'string') return
    responses.set(id, response)
    response.once('close', () => responses.delete(id))
  })
}

function responseOf(message: unknown): ServerResponse | undefined {
  if (typeof message !== 'object' || message === null || !('response' in message)) return undefined
  return message.response instanceof ServerResponse ? message.response : undefined
}

/** Aborted when the client leaves before its answer is complete. */
export function clientGone(invocationId: string): AbortSignal {
  const gone = new AbortController()
  const response = responses.get(invocationId)
  response?.once('close', () => {
    if (!response.writableFinished) gone.abort()
  })
  return gone.signal
}

/**
 * The body, no faster than the client takes it, and only as long as there is one: the library writes what it gets
 * without waiting, and goes on when nobody reads any more.
 */
export async function* atClientsPace(
  body: AsyncIterable<Uint8Array>,
  invocationId: string,
): AsyncIterable<Uint8Array> {
  const response = responses.get(invocationId)
  for await (const chunk of body) {
    if (response?.writableNeedDrain === true) await drained(response)
    if (response?.destroyed === true) return
    yield chunk
  }
}

async function drained(response: ServerResponse): Promise<void> {
  const settled = new AbortController()
  try {
    await Promise.race([
      once(response, 'drain', { signal: settled.signal }),
      once(response, 'close', { signal: settled.signal }),
    ])
  } finally {
    settled.abort()
  }
}
