import type { ByteRange } from '../ports/files.ts'

/**
 * What a Range header asks for of so many bytes; undefined: all of them, also where it asks for what may be left
 * unanswered, as several ranges at once. Source: RFC 9110, section 14.
 */
export function readRange(header: string | null, sizeBytes: number): ByteRange | 'unsatisfiable' | undefined {
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? '') ?? []
  if (first === '' && last === '') return undefined
  if (first === '') {
    const count = Math.min(Number(last), sizeBytes)
    return count === 0 ? 'unsatisfiable' : { from: sizeBytes - count, before: sizeBytes }
  }
  const from = Number(first)
  const before = last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes)
  if (last !== '' && Number(last) < from) return undefined
  return from >= sizeBytes ? 'unsatisfiable' : { from, before }
}
