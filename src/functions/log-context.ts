import { app } from '@azure/functions'
import { log } from '../app.ts'
import { errorCode } from '../core/log-event.ts'
import { withInvocationLog } from '../log/invocation.ts'

/**
 * Whatever a function logs goes through its own invocation, and what it throws is told in codes: the host writes an
 * error's message into its log, and those of storage and of the model quote addresses, and what somebody sent.
 */
export function logThroughInvocations(): void {
  app.hook.preInvocation((hook) => {
    const { functionHandler } = hook
    const { functionName } = hook.invocationContext
    hook.functionHandler = async (input, context) =>
      withInvocationLog(context, async () => {
        try {
          const result: unknown = await functionHandler(input, context)
          return result
        } catch (error) {
          throw told(functionName, error)
        }
      })
  })
}

/** The error as the host may write it: where it happened is kept, its words are not. */
function told(functionName: string, error: unknown): Error {
  const code = error instanceof AggregateError ? codesOf(error) : errorCode(error)
  log.event('function_failed', { function: functionName, code })
  const shown = new Error(`${functionName} failed: ${code}`)
  const places = error instanceof Error ? /\n\s+at [^]*$/.exec(error.stack ?? '')?.[0] : undefined
  shown.stack = `${shown.name}: ${shown.message}${places ?? ''}`
  return shown
}

function codesOf({ errors }: AggregateError): string {
  return [...new Set(errors.map(errorCode))].slice(0, 5).join(', ')
}
