import http from 'node:http'
import { createRequire } from 'node:module'
import { z } from 'zod'
import { log } from '../app.ts'
import { limits } from '../core/limits.ts'
import { errorFacts, type LogFacts } from '../core/log-event.ts'
import { timing } from '../core/timing.ts'
import {
  failedReply,
  gaveUp,
  internalError,
  unreadableRequest,
  type ApiError,
  type Reply,
} from '../http/reply.ts'
import { unless } from '../http/unless.ts'
import type { InvocationContext, InvocationModel } from './invocation-model.ts'
import { logged } from './log-context.ts'
import { beginExchange, beginStep, endExchange, endResponse, type Exchange } from './exchange.ts'

type ProgrammingModel = {
  readonly name: string
  readonly version: string
  getCapabilities(capabilities: object): Promise<object>
  getInvocationModel(context: InvocationContext): InvocationModel
}

type Core = { getProgrammingModel(): ProgrammingModel; setProgrammingModel(model: ProgrammingModel): void }

/**
 * Stands between the worker and the library, which never ends the answer of a function that throws, nor that of a body
 * that fails, and waits without end for a request that its server refused. The client would wait for the host's four
 * minutes, and an invocation that never ends makes the host restart the worker, under its paid calls.
 */
export function guardInvocations(): void {
  const core = coreModule()
  const model = core.getProgrammingModel()
  core.setProgrammingModel({
    name: model.name,
    version: model.version,
    getCapabilities: async (capabilities) =>
      withServerLimits(async () => model.getCapabilities(capabilities)),
    getInvocationModel: (context) => {
      const invocation = model.getInvocationModel(context)
      const bindings = Object.values(context.metadata.bindings ?? {})
      const isHttp = bindings.some(({ type }) => type === 'httpTrigger')
      return logged(isHttp ? guarded(invocation, context) : invocation, context)
    },
  })
}

function guarded(invocation: InvocationModel, context: InvocationContext): InvocationModel {
  const { invocationId: id } = context
  const exchange = beginExchange(id)
  const tell = (doing: string, facts: LogFacts): void =>
    log.event('request_failed', { request: id, route: context.metadata.name, doing, ...facts })
  const failure = (error: ApiError): Reply => failedReply(error, { id, ...askedOf(exchange) })

  /** Through the library where it can: it holds on to each response that it has not answered. */
  async function end(error: ApiError): Promise<void> {
    try {
      await invocation.getResponse({ invocationId: id }, failure(error))
    } catch {
      // Its answer has begun, or there was no request.
      if (exchange.response !== undefined) endResponse(exchange.response, failure(error))
    } finally {
      endExchange(exchange)
    }
  }

  return {
    /** Fails for a request that never comes, and for one whose address or method the library cannot take. */
    async getArguments() {
      const quiet = beginStep(exchange)
      try {
        return await unlessQuiet(quiet, invocation.getArguments())
      } catch (error) {
        await end(quiet.aborted ? gaveUp : unreadableRequest)
        const { name } = error instanceof Error ? error : { name: 'no error' }
        // oxlint-disable-next-line preserve-caught-error -- the worker logs it, and the library's words hold the address
        throw new Error(`request ${id} ${quiet.aborted ? 'did not come' : `could not be read (${name})`}`)
      }
    },

    async invokeFunction(...called) {
      const quiet = beginStep(exchange)
      try {
        return await unlessQuiet(behind(quiet), invocation.invokeFunction(...called))
      } catch (error) {
        tell('function', quiet.aborted ? gaveUpFacts : errorFacts(error))
        return failure(quiet.aborted ? gaveUp : internalError)
      }
    },

    /** An answer that fails is ended here, and told; for the worker the invocation is then over like any other. */
    async getResponse(...made) {
      const quiet = beginStep(exchange)
      try {
        const response = await unlessQuiet(quiet, invocation.getResponse(...made))
        if (exchange.response?.writableEnded === false) throw new Error('the function gave no reply')
        endExchange(exchange)
        return response
      } catch (error) {
        tell('answer', quiet.aborted ? gaveUpFacts : errorFacts(error))
        await end(quiet.aborted ? gaveUp : internalError)
        return { invocationId: id, outputData: [] }
      }
    },
  }
}

/** Functions that heed the signal themselves know better what to say: they go first. */
function behind(quiet: AbortSignal): AbortSignal {
  const late = new AbortController()
  quiet.addEventListener('abort', () => setImmediate(() => late.abort()), { once: true })
  return late.signal
}

async function unlessQuiet<T>(quiet: AbortSignal, step: Promise<T>): Promise<T> {
  const end = await unless(quiet, step)
  if (end === 'cut') throw new Error(`nothing moved for ${quietText}`)
  return end
}

const quietText = `${timing.quietMs / 1_000} s`

const gaveUpFacts: LogFacts = { code: 'nothing_moved', afterMs: timing.quietMs }

function askedOf({ response }: Exchange): { readonly method: string; readonly isHarmless: boolean } {
  const { method = 'GET', headers = {} } = response?.req ?? {}
  return { method, isHarmless: 'idempotency-key' in headers }
}

/**
 * Kestrel lets 32 KB of headers in and node's server only 16: what it refuses never comes to its function. A request may
 * also take longer than node's five minutes, where its body is one that may.
 */
async function withServerLimits<T>(start: () => Promise<T>): Promise<T> {
  const { createServer } = http
  const limited: typeof createServer = (...given: readonly unknown[]) => {
    const [first, second] = given
    const options = typeof first === 'object' && first !== null ? first : {}
    const listener = typeof first === 'function' ? first : second
    return Reflect.apply(createServer, http, [{ ...serverLimits, ...options }, listener])
  }
  Reflect.set(http, 'createServer', limited)
  try {
    return await start()
  } finally {
    Reflect.set(http, 'createServer', createServer)
  }
}

const serverLimits = {
  maxHeaderSize: limits.headerBytesMax,
  requestTimeout: timing.fileUploadMs + timing.bodyMs,
}

const isFunction = (value: unknown): boolean => typeof value === 'function'

const coreShape = z.object({
  getProgrammingModel: z.custom<Core['getProgrammingModel']>(isFunction),
  setProgrammingModel: z.custom<Core['setProgrammingModel']>(isFunction),
})

/** `@azure/functions-core` is no package: the worker supplies it to whoever requires it, from wherever. */
function coreModule(): Core {
  return coreShape.parse(createRequire(process.execPath)('@azure/functions-core'))
}
