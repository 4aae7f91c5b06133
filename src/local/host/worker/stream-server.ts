import { Server } from 'node:net'
import type { ProgrammingModel } from '../programming-model.ts'

/**
 * Locks the app's setup, which must happen once before the first invocation. With `enableHttpStream` the library then
 * starts a server of its own, on every interface; so it is caught while it starts, and kept to 127.0.0.1. Resolves with
 * its address; with undefined when the app has not turned on `enableHttpStream`.
 */
export async function startStreamServer(model: ProgrammingModel): Promise<string | undefined> {
  // oxlint-disable-next-line typescript/unbound-method -- the proxy hands `this` on
  const listen = Server.prototype.listen
  Server.prototype.listen = new Proxy(listen, {
    apply: (target, self: Server, [callback]: unknown[]) =>
      Reflect.apply(target, self, [0, '127.0.0.1', callback]),
  })
  try {
    const { HttpUri: uri } = await model.getCapabilities({})
    return uri?.replace('localhost', '127.0.0.1')
  } finally {
    Server.prototype.listen = listen
  }
}
