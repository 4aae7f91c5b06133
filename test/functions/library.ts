import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { request as requestHttp, type IncomingMessage, type Server } from 'node:http'
import Module from 'node:module'
import { Server as NetServer } from 'node:net'
import { format } from 'node:util'

/** The functions library with what it was loaded with, on its own server, and the part of the host that calls functions. */
export type Library = {
  /** The one on which the library takes requests from the host. */
  readonly server: Server
  /** Everything that was logged, by us, by the library, or by the host for an invocation that failed. */
  readonly lines: readonly string[]
  /** Of all functions that were registered. */
  readonly names: readonly string[]
  isHttp(name: string): boolean
  /** Asks a function, or another in its place. */
  call(name: string, asked?: Asked, instead?: () => unknown): Call
  stop(): Promise<void>
}

export type Asked = {
  readonly method?: string
  readonly path?: string
  readonly params?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>
  /** What the request says that its invocation is, where that is another one than it is. */
  readonly claimedId?: string
}

export type Call = {
  readonly id: string
  /** What the host has of the library, and passes on as it comes. */
  readonly response: Promise<IncomingMessage>
  /** True when the function's invocation was told to have succeeded. */
  readonly invocation: Promise<boolean>
  /** As when the client leaves. */
  leave(): void
}

/**
 * Loads functions as the Node worker does, in this process, so that a test may move their time. A process can do so once.
 * Sources: the worker's `setupCoreModule.ts` and `InvocationHandler.ts`, the host's `DefaultHttpProxyService.cs`.
 */
export async function startLibrary(load: () => Promise<unknown>): Promise<Library> {
  const lines: string[] = []
  const functions = new Map<string, { metadata: any; callback: unknown }>()
  let model: any
  const coreApi = {
    version: '3.9.1',
    hostVersion: '4.1037.0',
    registerFunction: (metadata: any, callback: unknown) => {
      functions.set(metadata.name, { metadata, callback })
      return { dispose() {} }
    },
    registerHook: () => ({ dispose() {} }),
    setProgrammingModel: (next: unknown) => void (model = next),
    getProgrammingModel: () => model,
    log: (level: string, _category: string, message: string) => void lines.push(`[${level}] ${message}`),
  }
  await withCore(coreApi, load)
  const servers: Server[] = []
  const uri = await listeningHere(servers, async () => (await model.getCapabilities({})).HttpUri)
  const [server] = servers
  if (server === undefined) throw new Error('the library started no server')
  const { port } = new URL(String(uri))

  async function invoke(
    id: string,
    name: string,
    { params = {}, headers = {} }: Asked,
    instead: unknown,
  ): Promise<boolean> {
    const { metadata, callback } = functions.get(name)!
    const core = {
      invocationId: id,
      request: {
        invocationId: id,
        functionId: name,
        inputData: [{ name: Object.keys(metadata.bindings)[0], data: { http: {} } }],
        triggerMetadata: {
          Headers: { json: JSON.stringify(headers) },
          Query: { json: '{}' },
          ...Object.fromEntries(Object.entries(params).map(([key, string]) => [key, { string }])),
        },
      },
      metadata,
      state: undefined as string | undefined,
      log: (level: string, _category: string, message: string) => void lines.push(`[${level}] ${message}`),
    }
    try {
      const invocation = await model.getInvocationModel(core)
      const { context, inputs } = await invocation.getArguments()
      core.state = 'invocation'
      const result = await invocation.invokeFunction(context, inputs, instead ?? callback)
      core.state = undefined
      await invocation.getResponse(context, result)
      return true
    } catch (error) {
      lines.push(`[failed] ${format(error)}`)
      return false
    }
  }

  return {
    server,
    lines,
    names: [...functions.keys()],
    isHttp: (name) =>
      Object.values<any>(functions.get(name)?.metadata.bindings).some(({ type }) => type === 'httpTrigger'),
    call(name, asked = {}, instead) {
      const id = randomUUID()
      const { method = 'GET', path = '/', headers = {}, body, claimedId = id } = asked
      const forwarded = requestHttp({
        host: '127.0.0.1',
        port,
        method,
        path,
        agent: false,
        headers: {
          'x-forwarded-host': `127.0.0.1:${port}`,
          'x-forwarded-proto': 'http',
          ...headers,
          'x-ms-invocation-id': claimedId,
        },
      })
      const response = once(forwarded, 'response').then(([answer]: IncomingMessage[]) => answer!)
      // Whoever waits for it meets the error there.
      response.catch(() => {})
      forwarded.on('error', () => {})
      void send(forwarded, body)
      return {
        id,
        response,
        invocation: invoke(id, name, asked, instead),
        leave: () => void forwarded.destroy(),
      }
    },
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

async function send(to: ReturnType<typeof requestHttp>, body: Asked['body']): Promise<void> {
  if (typeof body === 'object' && !(body instanceof Uint8Array)) {
    for await (const chunk of body) to.write(chunk)
    to.end()
  } else to.end(body)
}

/** The body to its end; where it broke off, what had come until then and the error. */
export async function read(
  response: IncomingMessage,
): Promise<{ readonly text: string; readonly isWhole: boolean; readonly code: string | undefined }> {
  const chunks: Buffer[] = []
  let code: string | undefined
  try {
    for await (const chunk of response) chunks.push(chunk)
  } catch (error) {
    code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
  return { text: Buffer.concat(chunks).toString(), isWhole: response.complete && code === undefined, code }
}

/** `@azure/functions-core` is no package: the worker supplies it to whoever requires it. */
async function withCore(coreApi: object, load: () => Promise<unknown>): Promise<void> {
  // oxlint-disable-next-line typescript/unbound-method -- the proxy hands `this` on
  const original = Module.prototype.require
  Module.prototype.require = new Proxy(original, {
    apply: (target, self, args: [id: string]) =>
      args[0] === '@azure/functions-core' ? coreApi : Reflect.apply(target, self, args),
  })
  try {
    await load()
  } finally {
    Module.prototype.require = original
  }
}

/** The library listens on every interface, and keeps its server to itself. */
async function listeningHere<T>(servers: NetServer[], start: () => Promise<T>): Promise<T> {
  // oxlint-disable-next-line typescript/unbound-method -- the proxy hands `this` on
  const listen = NetServer.prototype.listen
  NetServer.prototype.listen = new Proxy(listen, {
    apply: (target, self: Server, [callback]: unknown[]) => {
      servers.push(self)
      return Reflect.apply(target, self, [0, '127.0.0.1', callback])
    },
  })
  try {
    return await start()
  } finally {
    NetServer.prototype.listen = listen
  }
}
