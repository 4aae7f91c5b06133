import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { timing } from '../core/timing.ts'
import { unless } from '../http/unless.ts'
import { exchangeOf } from './exchange.ts'

/** Aborted when the client leaves before its answer is complete, or is given up. */
export function clientGone(invocationId: string): AbortSignal {
  const gone = new AbortController()
  const exchange = exchangeOf(invocationId)
  const response = exchange?.response
  const see = (): void => {
    if (response?.writableFinished === false) gone.abort()
  }
  if (response?.closed === true) see()
  response?.once('close', see)
  exchange?.quiet.signal.addEventListener('abort', () => gone.abort(), { once: true })
  return gone.signal
}

/**
 * The body, no faster than the client takes it, and only as long as there is one: the library writes what it gets
 * without waiting, and goes on when nobody reads any more. A client that takes nothing, or longer than a function may
 * run, is cut off, as is a body of which nothing comes: the connection breaks, so that no part is taken for the whole.
 */
export async function* atClientsPace(
  body: AsyncIterable<Uint8Array>,
  invocationId: string,
): AsyncIterable<Uint8Array> {
  const { response, quiet } = exchangeOf(invocationId) ?? { response: undefined, quiet: undefined }
  const cut = new AbortController()
  const end = (): void => cut.abort()
  const lasting = setTimeout(end, timing.streamMs)
  quiet?.signal.addEventListener('abort', end, { once: true })
  let hasBegun = false
  try {
    for await (const piece of untilCut(body, cut.signal)) {
      if (response?.writableNeedDrain === true) await drained(response, cut)
      if (cut.signal.aborted || response?.destroyed === true) break
      hasBegun = true
      yield piece
    }
  } finally {
    clearTimeout(lasting)
    quiet?.signal.removeEventListener('abort', end)
    if (cut.signal.aborted && hasBegun) response?.destroy()
  }
  // Its end would pass for that of the whole answer.
  if (cut.signal.aborted && response?.destroyed !== true) throw new Error('a streamed answer was cut off')
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
