import { spawn } from 'node:child_process'
import { z } from 'zod'

/** The Bicep compiler, as one process that is asked again and again: started anew for each question it takes seconds. */
export type Compiler = AsyncDisposable & {
  /** What the compiler and its linter find in a file and in all that it uses, a line each. */
  diagnostics(path: string): Promise<readonly string[]>
  formatted(path: string): Promise<string>
  /** What a deployment with these parameters would make, in JSON; or why it would be refused. */
  snapshot(parametersPath: string): Promise<{ readonly text: string } | { readonly refused: string }>
}

const subscriptionId = '00000000-0000-0000-0000-0000000000aa'

export function startCompiler(bicepPath: string): Compiler {
  const { ask, end } = connection(bicepPath)
  return {
    async diagnostics(path) {
      const { diagnostics } = compiledSchema.parse(required(await ask('bicep/compile', { path })))
      return diagnostics.map(
        ({ source, range: { start }, level, code, message }) =>
          `${source}:${start.line + 1}:${start.char + 1} ${level} ${code}: ${message}`,
      )
    },
    async formatted(path) {
      return formattedSchema.parse(required(await ask('bicep/format', { path }))).contents
    },
    async snapshot(path) {
      const metadata = { subscriptionId, location: 'westeurope' }
      const answer = await ask('bicep/getSnapshot', { path, metadata })
      if (answer.error !== undefined) return { refused: answer.error.data?.message ?? answer.error.message }
      return { text: snapshotSchema.parse(answer.result).snapshot }
    },
    [Symbol.asyncDispose]: end,
  }
}

const compiledSchema = z.object({
  diagnostics: z.array(
    z.object({
      source: z.string(),
      range: z.object({ start: z.object({ line: z.number(), char: z.number() }) }),
      level: z.string(),
      code: z.string(),
      message: z.string(),
    }),
  ),
})

const formattedSchema = z.object({ contents: z.string() })

const snapshotSchema = z.object({ snapshot: z.string() })

const answerSchema = z.object({
  id: z.number(),
  result: z.unknown().optional(),
  error: z
    .object({ message: z.string(), data: z.object({ message: z.string() }).partial().nullish() })
    .optional(),
})

type Answer = z.infer<typeof answerSchema>

function required({ result, error }: Answer): unknown {
  if (error !== undefined) throw new Error(`the compiler cannot: ${error.data?.message ?? error.message}`)
  return result
}

/** JSON-RPC over the process's own input and output, each message with its length before it. */
function connection(bicepPath: string) {
  const child = spawn(bicepPath, ['jsonrpc', '--stdio'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const waiting = new Map<number, PromiseWithResolvers<Answer>>()
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()))
  child.once('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('the compiler ended before its answer'))
  })
  let rest = Buffer.alloc(0)
  child.stdout.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    for (;;) {
      const headEnd = rest.indexOf('\r\n\r\n')
      const size = Number(
        /Content-Length: (\d+)/i.exec(rest.toString('latin1', 0, Math.max(headEnd, 0)))?.[1],
      )
      if (headEnd < 0 || rest.length < headEnd + 4 + size) return
      const answer = answerSchema.parse(JSON.parse(rest.toString('utf8', headEnd + 4, headEnd + 4 + size)))
      rest = rest.subarray(headEnd + 4 + size)
      waiting.get(answer.id)?.resolve(answer)
      waiting.delete(answer.id)
    }
  })
  let last = 0
  return {
    ask: async (method: string, question: object): Promise<Answer> => {
      const id = (last += 1)
      const answer = Promise.withResolvers<Answer>()
      waiting.set(id, answer)
      const text = JSON.stringify({ jsonrpc: '2.0', id, method, params: [question] })
      child.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
      const late = setTimeout(() => answer.reject(new Error(`no answer to ${method}`)), answerMsMax)
      return answer.promise.finally(() => clearTimeout(late))
    },
    end: async (): Promise<void> => {
      child.kill()
      await closed
    },
  }
}

/** It answers within seconds; on a machine that is busy, some more. */
const answerMsMax = 100_000
