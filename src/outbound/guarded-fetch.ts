import { lookup, type LookupAddress, type LookupAllOptions } from 'node:dns'
import type { LookupFunction } from 'node:net'
import type { Agent, Dispatcher } from 'undici'
import { isPublicAddress, readDestination, type Destinations } from '../core/destination.ts'
import { limits } from '../core/limits.ts'
import type { Outgoing, OutgoingAnswer, OutgoingRequest } from '../ports/outgoing.ts'

/** Names to addresses, as Node's own `dns.lookup` does it. */
export type Resolve = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

export type GuardedFetch = {
  readonly ask: Outgoing
  /** Gives idle connections up. */
  close(): Promise<void>
}

/**
 * Asks addresses that somebody else gave us, and connects to nothing but what `destinations` allow. What a name resolves
 * to is looked at by the connection itself, so that a name cannot change its address after it was checked. No cookies
 * are kept, no proxy is used, and redirects go through the same checks. The HTTP client is loaded by the first request.
 */
export function guardedFetch(destinations: Destinations, resolve: Resolve = lookup): GuardedFetch {
  let agent: Promise<Agent> | undefined
  return {
    ask: async (request) => follow(request, destinations, await (agent ??= newAgent(destinations, resolve))),
    close: async () => (await agent)?.close(),
  }
}

async function newAgent(destinations: Destinations, resolve: Resolve): Promise<Agent> {
  const { Agent, buildConnector } = await import('undici')
  const toTrusted = buildConnector({ timeout: limits.connectMsMax })
  const toPublic = buildConnector({ timeout: limits.connectMsMax, lookup: publicLookup(resolve) })
  return new Agent({
    connect(options, callback) {
      const at = readDestination(`${options.protocol}//${options.host ?? options.hostname}`, destinations)
      if (at.kind === 'refused') callback(new AddressRefused(at.why), null)
      else if (at.isTrusted) toTrusted(options, callback)
      else toPublic(options, callback)
    },
  })
}

class AddressRefused extends Error {
  override readonly name = 'AddressRefused'
}

/** One address that is not public is enough to refuse the name: an honest one has none. */
function publicLookup(resolve: Resolve): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? []
      if (error !== null) callback(error, '')
      else if (first === undefined || !addresses.every(({ address }) => isPublicAddress(address))) {
        callback(new AddressRefused('is not a public one'), '')
      } else if (options.all === true) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}

async function follow(
  request: OutgoingRequest,
  destinations: Destinations,
  agent: Agent,
): Promise<OutgoingAnswer> {
  const signal = AbortSignal.timeout(request.timeoutMs)
  let address = request.url
  for (let redirects = 0; ; redirects++) {
    const at = readDestination(address, destinations)
    if (at.kind === 'refused') return { kind: 'refused', why: at.why }
    const answer = await once(request, { url: at.url, signal, agent })
    const next = answer.kind === 'answer' ? nextAddress(request, answer, at.url) : undefined
    if (next === undefined) return answer
    if (redirects >= request.redirectsMax) {
      return { kind: 'refused', why: `redirects more than ${request.redirectsMax} times` }
    }
    address = next
  }
}

/** Where the answer sends us on to. What is sent, and whoever wants no redirects, takes the answer as it is. */
function nextAddress(
  { method, redirectsMax }: OutgoingRequest,
  { status, headers }: Extract<OutgoingAnswer, { kind: 'answer' }>,
  from: URL,
): string | undefined {
  const { location } = headers
  if (method !== 'GET' || redirectsMax === 0 || location === undefined) return undefined
  return [301, 302, 303, 307, 308].includes(status)
    ? (URL.parse(location, from.href)?.href ?? location)
    : undefined
}

async function once(
  { method, headers = {}, body, bodyBytesMax, isBodyCut = false }: OutgoingRequest,
  { url, signal, agent }: { readonly url: URL; readonly signal: AbortSignal; readonly agent: Agent },
): Promise<OutgoingAnswer> {
  try {
    const response = await agent.request({
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method,
      headers: { ...headers, 'user-agent': 'Darkroom', 'accept-encoding': 'identity' },
      body: body ?? null,
      signal,
    })
    const read = await readBody(response.body, { bodyBytesMax, isBodyCut })
    if (read === undefined) return { kind: 'failed', code: 'too_large' }
    return { kind: 'answer', status: response.statusCode, headers: single(response.headers), body: read }
  } catch (error) {
    // The guard's own refusal, the time that ran out, or a connection that failed; those carry a code.
    if (error instanceof AddressRefused) return { kind: 'refused', why: error.message }
    if (signal.aborted) return { kind: 'failed', code: 'timeout' }
    if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
      return { kind: 'failed', code: error.code }
    }
    throw error
  }
}

/** Undefined when it is larger than wanted. Leaving the loop ends the connection. */
async function readBody(
  body: Dispatcher.ResponseData['body'],
  { bodyBytesMax, isBodyCut }: { readonly bodyBytesMax: number; readonly isBodyCut: boolean },
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = []
  let restBytes = bodyBytesMax
  for await (const chunk of body) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError('a body without an encoding comes in bytes')
    if (chunk.length > restBytes && !isBodyCut) return undefined
    chunks.push(chunk.subarray(0, restBytes))
    restBytes -= chunk.length
    if (restBytes < 0) break
  }
  return Buffer.concat(chunks)
}

/** Of a header that came more than once, the first. */
function single(headers: Dispatcher.ResponseData['headers']): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => {
      const first = Array.isArray(value) ? value[0] : value
      return first === undefined ? [] : [[name, first]]
    }),
  )
}
