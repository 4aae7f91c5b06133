/** The path of a request as the real host's server reads it, before any route is looked at. */
export type ReadPath =
  | {
      readonly kind: 'read'
      /** Decoded, but for an encoded slash; none of them is empty. */
      readonly segments: readonly string[]
      /** The path as the function sees it in the request's address: what was not decoded is encoded once more. */
      readonly forwarded: string
    }
  /** It holds a null character. */
  | { readonly kind: 'refused' }
  /** It has an empty segment, which no route matches. */
  | { readonly kind: 'unroutable' }

/**
 * Reads a raw path, `/v1/jobs/a%2Fb`. As recorded (2026-11-30): what is encoded is decoded, but for `%2F` and for what is
 * no UTF-8; dot segments are resolved; `%00` is refused; a path with an empty segment, `//v1`, is nobody's.
 */
export function readPath(raw: string): ReadPath {
  const decoded = raw.split('/').slice(1).map(decodeSegment)
  if (decoded.some((segment) => segment.includes('\0'))) return { kind: 'refused' }
  const segments: string[] = []
  for (const segment of decoded) {
    if (segment === '..') segments.pop()
    else if (segment !== '.') segments.push(segment)
  }
  // A slash at the end makes no difference to routes, and stays in the address.
  const hasEnd = segments.at(-1) === '' || /^\.{1,2}$/.test(decoded.at(-1) ?? '')
  if (segments.at(-1) === '') segments.pop()
  if (segments.includes('')) return { kind: 'unroutable' }
  const path = segments.map(encodeSegment).join('/')
  return { kind: 'read', segments, forwarded: `/${path}${hasEnd && path !== '' ? '/' : ''}` }
}

function decodeSegment(segment: string): string {
  return segment.replaceAll(/(?:%(?!2f)[0-9a-f]{2})+/gi, (encoded) => {
    try {
      return decodeURIComponent(encoded)
    } catch (error) {
      if (error instanceof URIError) return encoded
      throw error
    }
  })
}

function encodeSegment(segment: string): string {
  // What may stand in a path as it is. Source: RFC 3986, `pchar`.
  return encodeURIComponent(segment).replaceAll(/%(?:24|26|2B|2C|3A|3B|3D|40)/g, decodeURIComponent)
}
