import { app, type HttpMethod, type HttpRequest, type InvocationContext } from '@azure/functions'
import { darkroom, door } from '../app.ts'
import { answer, answerOthers, type Incoming, type Service } from '../http/answer.ts'
import type { Call, Reply } from '../http/reply.ts'
import type { Route } from '../http/routes.ts'
import { atClientsPace, clientGone } from './client.ts'
import { exchangeOf } from './exchange.ts'

const service: Service = { door, room: darkroom }

/** All that were registered. */
export const routes: Route[] = []

/** Registers one HTTP route. Who asks is checked by us: the host's own keys know nobody's batches. */
export function route(
  name: string,
  { method, path, isOpen = false }: { method: HttpMethod; path: string; isOpen?: boolean },
  handle: (call: Call) => Promise<Reply>,
): void {
  const added: Route = { name, method, path, isOpen, handle }
  routes.push(added)
  app.http(name, {
    methods: method === 'GET' ? ['GET', 'HEAD'] : [method],
    route: path,
    authLevel: 'anonymous',
    handler: async (request, context) =>
      paced(await answer(service, added, incoming(request, context)), context),
  })
}

/**
 * Registers what answers in the place of the host, where no route does, in OpenAI's shape. Hosts prefer every route that
 * begins with a word to it. The start page, and the paths that the host has for itself, stay the host's.
 */
export function routeOthers(): void {
  app.http('others', {
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
    route: '{*path:regex(^(?!admin|runtime).+$)}',
    authLevel: 'anonymous',
    handler: async (request, context) => answerOthers(service, routes, incoming(request, context)),
  })
}

function incoming(request: HttpRequest, context: InvocationContext): Incoming {
  const id = context.invocationId
  return { request, id, gone: clientGone(id), quiet: exchangeOf(id)?.quiet.signal, log: context }
}

function paced(reply: Reply, { invocationId }: InvocationContext): Reply {
  const { body } = reply
  if (body === undefined || typeof body === 'string' || body instanceof Uint8Array) return reply
  return { ...reply, body: atClientsPace(body, invocationId) }
}
