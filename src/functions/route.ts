import { app, type HttpRequest, type InvocationContext } from '@azure/functions'
import { log, machineNow, openContext, settingsNow } from '../app.ts'
import { accessPolicy, type AccessPolicy } from '../http/access.ts'
import { answer, answerOthers, type Incoming, type Service } from '../http/answer.ts'
import type { Call, Reply } from '../http/reply.ts'
import type { Route } from '../http/routes.ts'
import { atClientsPace, clientGone } from './client.ts'
import { exchangeOf } from './exchange.ts'

const service: Service = { policy: policyNow, context: openContext }
let policy: AccessPolicy | undefined

/** Throws when the settings have faults. */
function policyNow(): AccessPolicy {
  return (policy ??= accessPolicy(settingsNow(), { now: machineNow, log }))
}

/** All that were registered. */
export const routes: Route[] = []

type Asked = Pick<Route, 'method' | 'path' | 'isRepeatable'> & Partial<Pick<Route, 'isOpen'>>

/**
 * Registers one HTTP route. Who asks is checked by us: the host's own keys know nobody's batches.
 *
 * The host knows no precedence of routes. It sorts functions by name and takes the first whose route matches path and
 * method, so a name decides whether a function is reached: `test/functions/routes.test.ts` holds all of them to it.
 */
export function route(
  name: string,
  { method, path, isOpen = false, isRepeatable = false }: Asked,
  handle: (call: Call) => Promise<Reply>,
): void {
  const added: Route = { name, method, path, isOpen, isRepeatable, handle }
  routes.push(added)
  app.http(name, {
    methods: method === 'GET' ? ['GET', 'HEAD'] : [method],
    route: path === '' ? startPage : path,
    authLevel: 'anonymous',
    handler: async (request, context) =>
      paced(await answer(service, added, incoming(request, context)), context),
  })
}

/** Matches `/` alone, and takes it from the host's own start page, which an empty route does not. */
const startPage = '{ignored:maxlength(0)?}'

/**
 * Registers what answers in the place of the host, where no route does, in OpenAI's shape. Its name sorts behind all
 * others, for it would take their requests. The paths that the host has for itself stay the host's.
 */
export function routeOthers(): void {
  app.http('zz-unrouted', {
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
    route: '{*path:regex(^(?!admin|runtime).+$)}',
    authLevel: 'anonymous',
    handler: async (request, context) => answerOthers(service, routes, incoming(request, context)),
  })
}

function incoming(request: HttpRequest, context: InvocationContext): Incoming {
  const id = context.invocationId
  return { request, id, gone: clientGone(id), quiet: exchangeOf(id)?.quiet.signal, log }
}

function paced(reply: Reply, { invocationId }: InvocationContext): Reply {
  const { body } = reply
  if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) return reply
  return { ...reply, body: atClientsPace(body, invocationId) }
}
