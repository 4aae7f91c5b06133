import type { HttpRequest } from '@azure/functions'
import { limits } from '../../core/limits.ts'
import { RequestRefused } from '../reply.ts'

/** How long a body may take to come as a whole, and how long nothing of it may come. */
export type Patience = { readonly withinMs: number; readonly stallMs: number }

/**
 * The body as it comes. Throws `RequestRefused` (408) when it does not come in time, for it holds memory and a
 * connection meanwhile. What is left unread stays so: who is cut off while sending does not hear why.
 */
export async function* chunksInTime(
  body: HttpRequest['body'],
  { withinMs, stallMs }: Patience,
): AsyncGenerator<Uint8Array> {
  if (body === null) return
  const reader = body.getReader()
  // One promise for the whole time, raced with each piece, would hold all of the pieces.
  let late: RequestRefused | undefined
  let giveUp = (_why: RequestRefused): void => {}
  const expire = (why: RequestRefused): void => {
    late ??= why
    giveUp(late)
  }
  const whole = setTimeout(() => expire(tooSlow(withinMs)), withinMs)
  try {
    while (true) {
      if (late !== undefined) throw late
      const stall = setTimeout(() => expire(stalled(stallMs)), stallMs)
      const over = Promise.withResolvers<never>()
      giveUp = over.reject
      const read = await Promise.race([reader.read(), over.promise]).finally(() => clearTimeout(stall))
      giveUp = () => {}
      if (read.done) return
      const chunk: unknown = read.value
      if (!(chunk instanceof Uint8Array)) throw new TypeError('a body of something else than bytes')
      yield chunk
    }
  } finally {
    clearTimeout(whole)
    reader.releaseLock()
  }
}

/**
 * Reads a body that is refused, to nowhere: who is cut off while sending does not hear why, and finds the connection
 * broken when it is used again. It takes no memory, and ends with the patience, or with what any host lets in.
 */
export async function letPass(body: HttpRequest['body'], patience: Patience): Promise<void> {
  let passedBytes = 0
  try {
    for await (const chunk of chunksInTime(body, patience)) {
      passedBytes += chunk.length
      if (passedBytes > limits.hostBodyBytesMax) return
    }
  } catch {
    // It came too slowly, or broke off. The answer is the refusal, whoever hears it.
    return
  }
}

function tooSlow(withinMs: number): RequestRefused {
  return refusal(`the body did not come within ${withinMs / 1_000} s`)
}

function stalled(stallMs: number): RequestRefused {
  return refusal(`nothing came of the body for ${stallMs / 1_000} s`)
}

function refusal(message: string): RequestRefused {
  return new RequestRefused({ status: 408, code: 'request_timeout', message })
}
