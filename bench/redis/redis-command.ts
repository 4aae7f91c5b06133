import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'

/** A Redis on a free port of loopback, which keeps nothing on disk. It ends with this process. */
const [path = '', libraries = '', folder = ''] = process.argv.slice(2)
const port = await freePort()
const redis = spawn(
  path,
  [
    ['--bind', '127.0.0.1'],
    ['--port', String(port)],
    ['--save', ''],
    ['--appendonly', 'no'],
    ['--daemonize', 'no'],
    ['--dir', folder],
  ].flat(),
  { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, LD_LIBRARY_PATH: libraries } },
)
process.on('exit', () => redis.kill('SIGKILL'))
redis.on('error', (error) => {
  console.error(error.message)
  process.exit(1)
})
redis.on('exit', (code) => process.exit(code ?? 1))
createInterface({ input: redis.stdout }).on('line', (line) => {
  console.log(line)
  if (line.includes('Ready to accept connections')) console.log(`redis: ready ${port}`)
})
await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
process.exit()

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}
