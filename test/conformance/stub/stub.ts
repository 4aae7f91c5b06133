import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Specs } from '../specs.ts'
import { fault, type Asked, type Part, type Told, type Upload } from './answers.ts'
import { stubBatches } from './batches.ts'
import { stubFiles } from './files.ts'
import { stubImages } from './images.ts'
import { stubUploads } from './uploads.ts'

export const stubKey = 'sk-stub'

export type Stub = AsyncDisposable & {
  readonly baseUrl: string
  readonly exhaust: () => void
}

/**
 * A small server that answers as OpenAI's API does, and knows nothing of Darkroom: its objects are the examples of OpenAI's
 * specification with other values in them, and its batches come a step further each time they are looked at.
 */
export async function startStub(specs: Specs): Promise<Stub> {
  const files = stubFiles(specs)
  const images = stubImages(specs)
  const batches = stubBatches(specs, files, images)
  const parts: readonly Part[] = [files.part, stubUploads(files), images.part, batches]
  let requests = 0
  const server = createServer((request, response) => {
    requests += 1
    response.setHeader('x-request-id', `req_${requests}`)
    void answer(request, parts).then(
      (told) => send(response, told),
      (error: unknown) => send(response, fault(500, String(error))),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the stub listens nowhere')
  return {
    baseUrl: `http://127.0.0.1:${address.port}/v1`,
    exhaust: images.exhaust,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

async function answer(request: IncomingMessage, parts: readonly Part[]): Promise<Told> {
  const asked = await read(request)
  if (request.headers.authorization !== `Bearer ${stubKey}`) return fault(401, 'Incorrect API key provided.')
  for (const part of parts) {
    const told = part(asked)
    if (told !== undefined) return told
  }
  return fault(404, `Invalid URL (${asked.method} ${asked.path})`)
}

async function read(incoming: IncomingMessage): Promise<Asked> {
  const { method = 'GET', headers } = incoming
  const url = new URL(incoming.url ?? '/', 'http://stub')
  const type = headers['content-type'] ?? ''
  const bytes: Buffer[] = []
  for await (const chunk of incoming) bytes.push(chunk)
  const body = new Response(Buffer.concat(bytes), { headers: { 'content-type': type } })
  const form = type.startsWith('multipart/form-data') ? await body.formData() : new FormData()
  const fields = new Map<string, (string | Upload)[]>()
  for (const [name, given] of form) {
    const value =
      typeof given === 'string' ? given : { name: given.name, bytes: Buffer.from(await given.arrayBuffer()) }
    fields.set(name, [...(fields.get(name) ?? []), value])
  }
  return {
    method,
    path: url.pathname.replace(/^\/v1/, ''),
    query: url.searchParams,
    form: fields,
    json: type.startsWith('application/json') ? await body.json() : undefined,
  }
}

function send(response: ServerResponse, { status, json, bytes }: Told): void {
  const type = json === undefined ? 'application/octet-stream' : 'application/json'
  response.writeHead(status, { 'content-type': type, ...(status === 429 ? { 'retry-after': '20' } : {}) })
  response.end(json === undefined ? bytes : JSON.stringify(json))
}
