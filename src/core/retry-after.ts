/** The wait that the header `Retry-After` asks for, in seconds or as a date; null when it asks for none. */
export function readRetryAfterMs(header: string, now: number): number | null {
  if (/^\s*\d+(\.\d+)?\s*$/.test(header)) return Number(header) * 1_000
  const date = Date.parse(header)
  return Number.isFinite(date) ? Math.max(0, date - now) : null
}
