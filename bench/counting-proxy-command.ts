import { once } from 'node:events'
import { Agent, createServer, request as forward, type IncomingMessage } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { operationOf } from './operation-kinds.ts'

/**
 * Stands before one service of Azurite, hands everything on, and counts. `GET /__counts` gives the counts by kind of
 * operation and starts them anew. SharedKey signs the path and not the host, so signatures stay valid.
 */
const [service = '', target = ''] = process.argv.slice(2)
const upstream = new URL(target)
const agent = new Agent({ keepAlive: true })
let counts: Record<string, number> = {}

const server = createServer((request, response) => {
  if (request.url === '/__counts') {
    response.end(JSON.stringify(counts))
    counts = {}
    return
  }
  void handOn(request).then(({ answer, sent, received }) => {
    const kind = operationOf({
      service,
      method: request.method ?? '',
      url: request.url ?? '',
      sent: sent.toString('latin1'),
      received: received.toString('latin1'),
    })
    counts[kind] = (counts[kind] ?? 0) + 1
    const {
      connection: _,
      'keep-alive': _keepAlive,
      'transfer-encoding': _encoding,
      ...headers
    } = answer.headers
    response.writeHead(answer.statusCode ?? 500, headers)
    response.end(received)
  })
})

async function handOn(
  request: IncomingMessage,
): Promise<{ answer: IncomingMessage; sent: Buffer; received: Buffer }> {
  const sent = await buffer(request)
  const call = forward({
    agent,
    host: upstream.hostname,
    port: upstream.port,
    method: request.method,
    path: request.url,
    headers: request.headers,
  })
  call.end(sent)
  const [answer]: IncomingMessage[] = await once(call, 'response')
  if (answer === undefined) throw new Error('the upstream gave no answer')
  return { answer, sent, received: await buffer(answer) }
}

server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const address = server.address()
console.log(`proxy: ready ${typeof address === 'object' ? address?.port : ''}`)
await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
process.exit()
