import { app, type HttpMethod } from '@azure/functions'
import { darkroom } from '../app.ts'
import { localCaller } from '../core/caller.ts'
import { asReply, type Call, type Reply } from '../http/reply.ts'

/** Registers one HTTP route. Every reply carries the request's id; what goes wrong is logged under it. */
export function route(
  name: string,
  { method, path, isOpen = false }: { method: HttpMethod; path: string; isOpen?: boolean },
  handle: (call: Call) => Promise<Reply>,
): void {
  app.http(name, {
    methods: [method],
    route: path,
    authLevel: isOpen ? 'anonymous' : 'function',
    handler: async (request, context) => {
      const id = context.invocationId
      try {
        const response = await handle({ request, room: await darkroom(), id, caller: localCaller })
        return { ...response, headers: { ...response.headers, 'x-request-id': id } }
      } catch (error) {
        context.error(`request ${id} failed`, error)
        const response = asReply(error)
        return { ...response, headers: { ...response.headers, 'x-request-id': id } }
      }
    },
  })
}
