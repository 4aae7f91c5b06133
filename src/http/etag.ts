import type { HttpRequest } from '@azure/functions'

/** Whether the client has what this tag stands for. Weak tags count as well: a proxy that packs the body makes them so. */
export function isKnown({ headers }: Pick<HttpRequest, 'headers'>, etag: string): boolean {
  const known = (headers.get('if-none-match') ?? '').split(',').map((tag) => tag.trim())
  return known.some((tag) => tag === '*' || tag.replace(/^W\//, '') === etag)
}
