import { createFunctionApp } from '../core-api.ts'
import { loadEntry } from '../entry.ts'
import { createInvoke } from '../invocation.ts'
import { describeError } from '../listener.ts'
import { startStreamServer } from './stream-server.ts'
import type { FromWorker, ToWorker } from './worker-messages.ts'

/**
 * The process that runs the functions, as Azure's Node worker does: `node worker-process.ts <rootDir>`, started by the
 * host, which it talks to over its channel. It ends with its host.
 */
const rootDir = process.argv[2] ?? ''

function tell(message: FromWorker): void {
  // A run may outlast its host; nobody hears it then.
  if (process.connected) process.send?.(message)
}

process.on('disconnect', () => process.exit(1))
// A terminal sends it to all processes of a command; the host decides what becomes of this one.
process.on('SIGINT', () => {})

const app = createFunctionApp((line) => tell({ kind: 'line', line }))
const appHooks = { hookData: {}, appHookData: app.appHookData, functionAppDirectory: rootDir }
const invoke = createInvoke(app)

process.on('message', (message: ToWorker) => {
  void obey(message)
})

async function obey(message: ToWorker): Promise<void> {
  switch (message.kind) {
    case 'invoke': {
      const { invocationId } = message
      try {
        tell({ kind: 'returned', invocationId, value: await invoke(message) })
      } catch (error) {
        tell({ kind: 'threw', invocationId, error: describeError(error) })
      }
      return
    }
    case 'terminate': {
      try {
        await app.runHooks('appTerminate', appHooks)
      } catch (error) {
        app.log({
          source: 'host',
          level: 'error',
          category: 'system',
          message: `an appTerminate hook threw: ${describeError(error)}`,
        })
      }
      return tell({ kind: 'terminated' })
    }
    case 'measure': {
      globalThis.gc?.()
      const { rss, heapUsed } = process.memoryUsage()
      return tell({ kind: 'measured', pid: process.pid, rss, heapUsed })
    }
  }
}

try {
  await loadEntry(rootDir, app)
  await app.runHooks('appStart', appHooks)
  const streamUri = await startStreamServer(app.model())
  const functions = [...app.functions.values()].map(({ name, trigger }) => ({ name, trigger }))
  tell({ kind: 'started', functions, streamUri })
} catch (error) {
  tell({ kind: 'refused', reason: error instanceof Error ? error.message : String(error) })
  process.disconnect()
}
