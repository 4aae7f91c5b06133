import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import Module, { createRequire, isBuiltin } from 'node:module'
import { basename, dirname, extname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createFunctionApp } from '../../src/local/host/core-api.ts'
import { supplyCoreModule } from '../../src/local/host/entry.ts'
import { createInvoke } from '../../src/local/host/invocation.ts'
import { startStreamServer } from '../../src/local/host/worker/stream-server.ts'

const require = createRequire(import.meta.url)

export type AzureWorker = {
  readonly functions: readonly string[]
  /** Files of the entry's folder that are loaded by now. */
  loaded(): readonly string[]
  /** What files of that folder have asked for and neither Node, nor the host, nor the folder itself has. */
  readonly outside: readonly string[]
  /** Runs the function of a GET. Resolves with the status that it answers. */
  get(functionName: string, path: string): Promise<number>
  /** Runs the function of a queue's message. */
  deliver(functionName: string, message: object): Promise<void>
}

/**
 * Loads an entry file into this process as Azure's Node worker does: a patched `require` gives `@azure/functions-core`
 * to all files, for good, and a .cjs file is required. Source: the worker's `setupCoreModule.ts` and `loadScriptFile.ts`.
 */
export async function loadAsAzure(entry: string): Promise<AzureWorker> {
  const app = createFunctionApp(() => {})
  supplyCoreModule(app.coreApi)
  const folder = dirname(entry)
  const outside = watchRequires(folder)
  if (extname(entry) === '.cjs') require(entry)
  else await import(pathToFileURL(entry).href)
  app.seal()
  const invoke = createInvoke(app)
  let server: Promise<string | undefined> | undefined
  return {
    functions: [...app.functions.keys()].toSorted(),
    loaded: () =>
      Object.keys(require.cache)
        .filter((path) => dirname(path) === folder)
        .map((path) => basename(path)),
    outside,
    async get(functionName, path) {
      const uri = await (server ??= startStreamServer(app.model()))
      if (uri === undefined) throw new Error('the library serves no requests')
      const invocationId = randomUUID()
      const { host } = new URL(uri)
      const headers = {
        'x-ms-invocation-id': invocationId,
        'x-forwarded-host': host,
        'x-forwarded-proto': 'http',
      }
      const answered = new Promise<number>((resolve, reject) => {
        const asked = request(new URL(path, uri), { headers, agent: false }, (response) => {
          response.resume().once('end', () => resolve(response.statusCode ?? 0))
        })
        asked.once('error', reject).end()
      })
      const triggerMetadata = { Headers: { json: '{}' }, Query: { json: '{}' } }
      await invoke({ invocationId, functionName, input: { data: { http: {} }, triggerMetadata } })
      return answered
    },
    async deliver(functionName, message) {
      server ??= startStreamServer(app.model())
      await server
      const data = { string: JSON.stringify(message) }
      await invoke({ invocationId: randomUUID(), functionName, input: { data } })
    },
  }
}

function watchRequires(folder: string): readonly string[] {
  const outside: string[] = []
  // oxlint-disable-next-line typescript/unbound-method -- the proxy hands `this` on
  const original = Module.prototype.require
  Module.prototype.require = new Proxy(original, {
    apply: (target, self: Module, args: [id: string]) => {
      const [id] = args
      const isOurs = dirname(self.filename) === folder
      if (isOurs && !isBuiltin(id) && !id.startsWith('./') && id !== '@azure/functions-core') outside.push(id)
      return Reflect.apply(target, self, args)
    },
  })
  return outside
}
