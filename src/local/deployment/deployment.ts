import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { ErrorAnswer } from './answers.ts'
import { maxBodyBytes, readBody, readJson } from './body.ts'
import { doorOf } from './door.ts'
import { maxEditBytes } from './edit.ts'
import type { ReceivedRequest } from './log.ts'
import { createLog } from './log.ts'
import type { Reply } from './service.ts'
import { addressedAt, createService } from './service.ts'
import type { DeploymentSettings } from './settings.ts'
import { changeSettings, defaultSettings } from './settings.ts'

export type DeploymentOptions = Partial<DeploymentSettings> & {
  /** The port on 127.0.0.1; 0, the default, takes a free one. */
  readonly port?: number
}

export type SimulatedDeployment = {
  /** `http://127.0.0.1:PORT`, to be used as AZURE_OPENAI_ENDPOINT. */
  readonly endpoint: string
  readonly apiKey: string
  /** Every request received, in the order of arrival. */
  log(): readonly ReceivedRequest[]
  /** Changes settings from the next request on; throws when a value is not valid. */
  set(changes: Partial<DeploymentSettings>): void
  /** Ends every connection, also those with an answer still due. */
  stop(): Promise<void>
}

/**
 * Starts a strict stand-in for an Azure OpenAI image deployment, or for several of one resource, on 127.0.0.1 only.
 *
 * It checks key, path, api-version and parameters, judges the rate as Azure does, and draws real pictures. Markers in a
 * prompt (see faults.ts) and the settings make it fail on purpose. Another process reads the log at `GET /__log` and
 * changes settings with `POST /__set`. Throws when an option is not valid or the port is taken.
 */
export async function startDeployment(options: DeploymentOptions = {}): Promise<SimulatedDeployment> {
  const { port = 0, ...changes } = options
  let settings = changedOrThrow(defaultSettings, changes)
  const stopping = new AbortController()
  const log = createLog()
  const service = createService({ settings: () => settings, signal: stopping.signal })
  const underway = new Set<Promise<void>>()

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === '/__log' && request.method === 'GET') return sendJson(response, 200, log.entries())
    if (request.url === '/__set' && request.method === 'POST') return serveSet(request, response)
    return serveGeneration(request, response)
  }

  async function serveSet(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const read = await readBody(request)
    const changed = changeSettings(settings, read.kind === 'body' ? readJson(read.bytes) : undefined)
    if (changed.kind === 'invalid') return sendJson(response, 400, { error: { message: changed.message } })
    settings = changed.settings
    return sendJson(response, 200, settings)
  }

  async function serveGeneration(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const receivedAt = performance.timeOrigin + performance.now()
    const requestId = randomUUID()
    const door = doorOf(request.method, request.url)
    const here = addressedAt(door, settings)
    const entry = log.open({ receivedAt, requestId, deployment: here?.deployment ?? null })
    const judgement = service.arrive({ door, arrivedAt: receivedAt })
    const body = await readBody(request, door?.operation === 'edits' ? maxEditBytes : maxBodyBytes)
    const reply = await service.reply({
      door,
      judgement,
      requestId,
      headers: {
        apiKey: header(request, 'api-key'),
        authorization: request.headers.authorization,
        contentType: request.headers['content-type'],
      },
      body,
    })
    const isGone = body.kind === 'gone' || response.destroyed
    entry.close({ ...reply, isGone, answeredAt: performance.timeOrigin + performance.now() })
    if (reply.kind === 'dropped' || isGone) request.socket.destroy()
    else send(response, reply, { requestId, settings: here ?? settings, closes: body.kind === 'too-large' })
  }

  const server = createServer((request, response) => {
    const served = serve(request, response)
      .catch((error: unknown) => breakDown(response, error))
      .finally(() => underway.delete(served))
    underway.add(served)
  })
  // Longer than any client keeps a connection for later use, so that no request meets a closing one.
  server.keepAliveTimeout = 120_000
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')

  return {
    endpoint: `http://127.0.0.1:${portOf(server.address())}`,
    get apiKey() {
      return settings.apiKey
    },
    log: () => log.entries(),
    set(changes) {
      settings = changedOrThrow(settings, changes)
    },
    async stop() {
      const closed = once(server, 'close')
      stopping.abort()
      server.close()
      server.closeAllConnections()
      await Promise.all([closed, ...underway])
    },
  }
}

/** A bug of this stand-in costs the one request that met it, as a fault within Azure would, and not the process. */
function breakDown(response: ServerResponse, error: unknown): void {
  console.error('The simulated deployment failed at a request:', error)
  if (response.headersSent) response.destroy()
  else sendJson(response, 500, { error: { code: 'InternalServerError', message: 'Internal server error' } })
}

function changedOrThrow(settings: DeploymentSettings, changes: unknown): DeploymentSettings {
  const changed = changeSettings(settings, changes)
  if (changed.kind === 'invalid')
    throw new Error(`The simulated deployment cannot take this:\n${changed.message}`)
  return changed.settings
}

function send(
  response: ServerResponse,
  reply: Exclude<Reply, { kind: 'dropped' }>,
  { requestId, settings, closes }: SentWith,
): void {
  response.setHeader('content-type', 'application/json')
  response.setHeader('apim-request-id', requestId)
  response.setHeader('x-request-id', requestId)
  if (closes) response.setHeader('connection', 'close')
  if (settings.retryAfter === 'headers') {
    response.setHeader('x-ratelimit-limit-requests', String(settings.rpm))
    for (const [name, value] of retryHeaders(reply)) response.setHeader(name, value)
  }
  switch (reply.kind) {
    case 'error':
      response.writeHead(reply.answer.status).end(JSON.stringify({ error: reply.answer.error }))
      return
    case 'pictures':
      response.writeHead(200, { 'content-length': reply.body.length }).end(reply.body)
      return
    case 'truncated':
      response.writeHead(200, { 'content-length': reply.body.length })
      response.write(reply.body.subarray(0, reply.body.length / 2), () => response.destroy())
      return
  }
}

type SentWith = {
  readonly requestId: string
  readonly settings: DeploymentSettings
  readonly closes: boolean
}

function retryHeaders(reply: Reply): readonly (readonly [string, string])[] {
  const answer: ErrorAnswer | undefined = reply.kind === 'error' ? reply.answer : undefined
  if (answer?.retryAfterSeconds === undefined) return []
  return [
    ['retry-after', String(answer.retryAfterSeconds)],
    ['retry-after-ms', String(answer.retryAfterSeconds * 1_000)],
  ]
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return Array.isArray(value) ? value[0] : value
}

function portOf(address: ReturnType<ReturnType<typeof createServer>['address']>): number {
  if (address === null || typeof address === 'string') throw new Error('The deployment has no port.')
  return address.port
}
