import { createHash } from 'node:crypto'
import type { HttpRequest } from '@azure/functions'
import { isRecord } from '../core/json.ts'
import { limits } from '../core/limits.ts'
import { errorFacts } from '../core/log-event.ts'
import { timing } from '../core/timing.ts'
import { unreadableIn } from '../core/unreadable-row.ts'
import type { Context } from '../pipeline/context.ts'
import type { Log } from '../ports/log.ts'
import { admit, type AccessPolicy } from './access.ts'
import { corsHeaders, preflightHeaders } from './cors.ts'
import { isKnown } from './etag.ts'
import {
  asReply,
  gaveUp,
  notFound,
  replyError,
  RequestRefused,
  retryHeader,
  type ApiError,
  type Reply,
} from './reply.ts'
import { methodsOf, type Route } from './routes.ts'
import { unless } from './unless.ts'

/** The access policy is known without storage; the context opens storage, for callers that were admitted. Both may throw. */
export type Service = { readonly policy: () => AccessPolicy; readonly context: () => Promise<Context> }

/** A request as the functions host hands it over. */
export type Incoming = {
  readonly request: HttpRequest
  /** Told to the caller with every reply, and named in the log. */
  readonly id: string
  /** Aborted when the client leaves before its answer is complete, or is given up. */
  readonly gone?: AbortSignal | undefined
  /** Aborted when nothing of the request has moved for so long that it must be given up. */
  readonly quiet?: AbortSignal | undefined
  readonly log: Log
}

/** Answers a request of one of the routes; never throws. */
export async function answer(service: Service, route: Route, incoming: Incoming): Promise<Reply> {
  const { request, id, gone } = incoming
  const work = { what: `${request.method} ${route.path}`, isRepeatable: route.isRepeatable === true }
  return framed(service, incoming, work, async (policy) => {
    const long = tooLongAddress(request)
    if (long !== undefined) return long
    const admission = admit(policy, request, route.isOpen)
    if (admission.kind === 'refused') return replyError(admission.error)
    const params = Object.values(request.params)
    if (params.some((part) => part.length > limits.pathPartCharsMax)) return notFound('what the path names')
    const reply = await route.handle({
      request,
      context: await contextOf(service, incoming),
      id,
      caller: admission.caller,
      gone,
    })
    return request.method === 'GET' || request.method === 'HEAD' ? tagged(request, reply) : reply
  })
}

/** Answers what none of the routes takes: a path that there is not, or a method that its path does not take. */
export async function answerOthers(
  service: Service,
  routes: readonly Route[],
  incoming: Incoming,
): Promise<Reply> {
  const { request } = incoming
  const work = { what: `${request.method} without a route`, isRepeatable: false }
  return framed(service, incoming, work, async (policy) => {
    const long = tooLongAddress(request)
    if (long !== undefined) return long
    const methods = methodsOf(routes, URL.parse(request.url)?.pathname ?? '')
    const allow = { allow: methods.join(', ') }
    if (request.method === 'OPTIONS' && methods.length > 0) {
      return { status: 204, headers: { ...allow, ...preflightHeaders(policy, request, methods) } }
    }
    const admission = admit(policy, request, false)
    if (admission.kind === 'refused') return replyError(admission.error)
    if (methods.length === 0 || methods.includes(request.method)) return notFound('this path')
    const message = `${request.method} is not for this path; allowed: ${methods.join(', ')}`
    const reply = replyError({ status: 405, code: 'method_not_allowed', message })
    return { ...reply, headers: { ...reply.headers, ...allow } }
  })
}

function tooLongAddress({ url }: HttpRequest): Reply | undefined {
  if (url.length <= limits.urlCharsMax) return undefined
  const message = `the address has ${url.length} characters; allowed: at most ${limits.urlCharsMax}`
  return replyError({ status: 414, code: 'uri_too_long', message })
}

/** What it opens to is storage; where that does not answer, or fails, nothing was begun. */
async function contextOf(service: Service, { id, log }: Incoming): Promise<Context> {
  try {
    return await service.context()
  } catch (error) {
    if (!isOutOfReach(error)) throw error
    log.event('storage_failed', { doing: 'open', request: id, ...errorFacts(error) })
    throw new RequestRefused(storageAway, error)
  }
}

/** As storage's clients tell it: no answer at all, or one of the service's own trouble. */
function isOutOfReach(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const status = 'statusCode' in error ? error.statusCode : undefined
  if (typeof status === 'number') return status >= 500
  return 'code' in error && typeof error.code === 'string' && outOfReachCodes.test(error.code)
}

const outOfReachCodes = /^(E[A-Z]+|REQUEST_SEND_ERROR|NO_ANSWER)$/

/** Nothing was begun, so it may be sent again. */
const storageAway: ApiError = {
  status: 503,
  code: 'storage_unavailable',
  message: 'the service cannot reach its storage; try again soon',
  retryAfterMs: timing.openRetryMs,
}

/** `what` names the request in the log: the route's own path, never what stood in it. */
async function framed(
  service: Service,
  { request, id, quiet, log }: Incoming,
  { what, isRepeatable }: { readonly what: string; readonly isRepeatable: boolean },
  work: (policy: AccessPolicy) => Promise<Reply>,
): Promise<Reply> {
  let policy: AccessPolicy | undefined
  let reply: Reply
  let startedAt = 0
  let mayBeDone = false
  let fault: ReturnType<typeof errorFacts> | undefined
  try {
    policy = service.policy()
    startedAt = policy.now()
    const end = quiet === undefined ? await work(policy) : await unless(quiet, work(policy))
    mayBeDone = end === 'cut'
    reply = end === 'cut' ? replyError(gaveUp) : end
  } catch (error) {
    for (const holds of unreadableIn(error)) log.event('rows_unreadable', { code: holds })
    if (!(error instanceof RequestRefused)) fault = errorFacts(error)
    reply = asReply(error)
    mayBeDone = reply.status === 500
  }
  if (reply.status >= 400) {
    const event = reply.status >= 500 ? 'request_failed' : 'request_refused'
    log.event(event, {
      request: id,
      route: what,
      status: reply.status,
      code: fault?.code ?? codeOf(reply),
      at: fault?.at,
    })
  }
  const isHarmless = isRepeatable || request.headers.has('idempotency-key')
  const headers = {
    ...(policy && corsHeaders(policy, request)),
    ...(mayBeDone ? retryHeader({ method: request.method, isHarmless }) : {}),
    ...reply.headers,
    'x-request-id': id,
    ...(policy && {
      'openai-processing-ms': String(Math.max(0, Math.round(policy.now() - startedAt))),
    }),
  }
  return request.method === 'HEAD' ? withoutBody({ ...reply, headers }) : { ...reply, headers }
}

function codeOf({ jsonBody }: Reply): string | undefined {
  const error = isRecord(jsonBody) ? jsonBody['error'] : undefined
  const code = isRecord(error) ? error['code'] : undefined
  return typeof code === 'string' ? code : undefined
}

/** A stream that nobody will read is told so, for it may hold something open; nobody waits for what it does then. */
function withoutBody({ status, headers, body }: Reply): Reply {
  if (typeof body === 'object' && !(body instanceof Uint8Array)) {
    void Promise.resolve(body[Symbol.asyncIterator]().return?.()).catch(() => {})
  }
  return { status, headers }
}

/** What was found as it was when the client saw it last is not sent again. */
function tagged(request: HttpRequest, reply: Reply): Reply {
  if (reply.status !== 200 || reply.jsonBody === undefined) return reply
  const body = JSON.stringify(reply.jsonBody)
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`
  const headers = { ...reply.headers, 'cache-control': 'private, no-cache', etag }
  if (isKnown(request, etag)) return { status: 304, headers }
  return { status: 200, headers: { ...headers, 'content-type': 'application/json' }, body }
}
