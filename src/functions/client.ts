import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { ServerResponse } from 'node:http'
import { timing } from '../core/timing.ts'

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
 * without waiting, and goes on when nobody reads any more. A client that takes nothing, or longer than a function may
 * run, is cut off: its connection breaks, so that it does not take a part for the whole.
 */
export async function* atClientsPace(
  body: AsyncIterable<Uint8Array>,
  invocationId: string,
): AsyncIterable<Uint8Array> {
  const response = responses.get(invocationId)
  const cut = new AbortController()
  const lasting = setTimeout(() => cut.abort(), timing.streamMs)
  try {
    for await (const piece of untilCut(body, cut.signal)) {
      if (response?.writableNeedDrain === true) await drained(response, cut)
      if (cut.signal.aborted || response?.destroyed === true) break
      yield piece
    }
  } finally {
    clearTimeout(lasting)
    if (cut.signal.aborted) response?.destroy()
  }
  if (cut.signal.aborted && response === undefined) throw new Error('a streamed answer took too long')
}

/** The body in small pieces, so that who takes one is seen to take something. Who is cut off waits for no more. */
async function* untilCut(body: AsyncIterable<Uint8Array>, cut: AbortSignal): AsyncIterable<Uint8Array> {
  const iterator = body[Symbol.asyncIterator]()
  let isEnded = false
  try {
    for (;;) {
      const next = await unless(cut, iterator.next())
      if (next === 'cut') return
      isEnded = next.done === true
      if (next.done === true) return
      for (let at = 0; at < next.value.length; at += pieceBytes) {
        yield next.value.subarray(at, at + pieceBytes)
      }
    }
  } finally {
    // It ends once what it waits for has come; nobody waits for that, nor hears how it went.
    if (!isEnded) void Promise.resolve(iterator.return?.()).catch(() => {})
  }
}

/** One listener a step, taken away with it: a promise that all steps raced against would hold on to all they gave. */
async function unless<T>(cut: AbortSignal, step: Promise<T>): Promise<T | 'cut'> {
  if (cut.aborted) return 'cut'
  return new Promise((resolve, reject) => {
    const stop = (): void => resolve('cut')
    cut.addEventListener('abort', stop, { once: true })
    step.then(resolve, reject).finally(() => cut.removeEventListener('abort', stop))
  })
}

/** A client that takes a piece within the time that it may take nothing reads at some 4 kB/s. */
const pieceBytes = 256 * 1024

async function drained(response: ServerResponse, cut: AbortController): Promise<void> {
  const settled = new AbortController()
  const { signal } = settled
  const stalling = setTimeout(() => cut.abort(), timing.streamStallMs)
  try {
    await Promise.race([
      once(response, 'drain', { signal }),
      once(response, 'close', { signal }),
      once(cut.signal, 'abort', { signal }),
    ])
  } finally {
    clearTimeout(stalling)
    settled.abort()
  }
}
