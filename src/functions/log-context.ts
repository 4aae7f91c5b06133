import { log } from '../app.ts'
import { errorFacts } from '../core/log-event.ts'
import { unreadableIn } from '../core/unreadable-row.ts'
import { withInvocationLog, type InvocationLog } from '../log/invocation.ts'
import type { InvocationContext, InvocationModel } from './invocation-model.ts'

/**
 * Whatever is logged in an invocation goes through it, and what its function throws is told in codes: the host writes an
 * error's message into its log, and those of storage and of the model quote addresses, and what somebody sent.
 */
export function logged(invocation: InvocationModel, context: InvocationContext): InvocationModel {
  const lines: InvocationLog = {
    info: (line) => context.log('information', 'user', line),
    warn: (line) => context.log('warning', 'user', line),
    error: (line) => context.log('error', 'user', line),
  }
  return {
    getArguments: async () => withInvocationLog(lines, async () => invocation.getArguments()),
    getResponse: async (...made) => withInvocationLog(lines, async () => invocation.getResponse(...made)),
    invokeFunction: async (...called) =>
      withInvocationLog(lines, async () => {
        try {
          return await invocation.invokeFunction(...called)
        } catch (error) {
          throw told(context.metadata.name ?? 'a function', error)
        }
      }),
  }
}

/** The error as the host may write it: where it happened is kept, its words are not. */
function told(name: string, error: unknown): Error {
  const facts = errorFacts(error)
  for (const holds of unreadableIn(error)) log.event('rows_unreadable', { code: holds })
  log.event('function_failed', { function: name, ...facts })
  const shown = new Error(`${name} failed: ${facts.code}`)
  shown.stack = [`${shown.name}: ${shown.message}`, ...framesOf(error)].join('\n')
  return shown
}

/** Only lines that are frames of a stack: a message may have lines that begin like one. */
function framesOf(error: unknown): readonly string[] {
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  return stack.split('\n').filter((line) => /^ {4}at (?:[\w.<>[\] ]+ \()?[^ ()]*:\d+:\d+\)?$/.test(line))
}
