/** A process that takes longer than this for an answer has hung. */
const answerLimitMs = 20_000

/** The body of an answer, or undefined for a 404. Throws for any other answer, and for none in time. */
export async function findJson(url: string): Promise<unknown> {
  const response = await fetch(url, { signal: AbortSignal.timeout(answerLimitMs) })
  if (response.status === 404) {
    await response.body?.cancel()
    return undefined
  }
  if (!response.ok) throw new Error(`${new URL(url).pathname} answered ${response.status}`)
  return response.json()
}

export async function getJson(url: string): Promise<unknown> {
  const found = await findJson(url)
  if (found === undefined) throw new Error(`${new URL(url).pathname} answered 404`)
  return found
}

/** The process that was asked is gone, or too busy to answer in time. */
export function isNoAnswer(error: unknown): boolean {
  return error instanceof TypeError || (error instanceof DOMException && error.name === 'TimeoutError')
}
