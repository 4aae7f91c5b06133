import { SettingsError } from '../settings.ts'

/** Of a message that others wrote. */
const messageCharsMax = 300

/**
 * An error as one line of the log: its name, its codes, the function it came from where it is a fault of ours, and the
 * beginning of its message, without what stands in an address behind a question mark: that may be a signature. The
 * message of a text that could not be parsed has some of the text in it, and is left out.
 */
export function errorLine(error: unknown): string {
  // Ours, and the operator needs all of it.
  if (error instanceof SettingsError) return error.message
  if (!(error instanceof Error)) return 'what was thrown is no error'
  const { code, statusCode } = readCodes(error)
  const codes = [code, statusCode].filter((each) => each !== undefined)
  const place = codes.length > 0 ? undefined : /\n\s+at (?:async )?([^\s(]+) \(/.exec(error.stack ?? '')?.[1]
  const message = error.message.replaceAll(/\?\S+/g, '?…').replaceAll(/\s+/g, ' ').trim()
  const head = [error.name, ...codes, ...(place === undefined ? [] : [`in ${place}`])].join(' ')
  return error instanceof SyntaxError || message === ''
    ? head
    : `${head}: ${message.slice(0, messageCharsMax)}`
}

/** As Node and storage give them. */
function readCodes(error: Error): {
  readonly code: string | undefined
  readonly statusCode: number | undefined
} {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  const statusCode =
    'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : undefined
  return { code, statusCode }
}
