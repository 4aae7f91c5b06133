import { isAllowedOrigin, type Asking, type AccessPolicy } from './access.ts'

/** What a page may read beside the usual headers. */
const exposed =
  'x-request-id, retry-after, etag, location, content-range, content-disposition, idempotent-replayed, openai-processing-ms'

/** How long a browser may remember what it was allowed, in seconds. */
const preflightSeconds = 600

/**
 * What lets a browser's page read the reply; nothing unless CORS_ORIGINS names its origin. Keys are sent in headers that
 * the page itself must know, never in cookies, so credentials are not allowed to any.
 */
export function corsHeaders(
  { corsOrigins }: Pick<AccessPolicy, 'corsOrigins'>,
  { headers }: Pick<Asking, 'headers'>,
): Readonly<Record<string, string>> {
  if (corsOrigins.length === 0) return {}
  if (corsOrigins.includes('*')) {
    return { 'access-control-allow-origin': '*', 'access-control-expose-headers': exposed }
  }
  const origin = headers.get('origin')
  // The reply depends on who asks, also where it allows nothing: a cache must know.
  if (origin === null || !isAllowedOrigin(corsOrigins, origin)) return { vary: 'Origin' }
  return {
    'access-control-allow-origin': origin,
    'access-control-expose-headers': exposed,
    vary: 'Origin',
  }
}

/** What a page may do, asked before it does it; `methods` are those of the path. */
export function preflightHeaders(
  policy: Pick<AccessPolicy, 'corsOrigins'>,
  asking: Pick<Asking, 'headers'>,
  methods: readonly string[],
): Readonly<Record<string, string>> {
  const allowed = corsHeaders(policy, asking)
  const isAllowed = allowed['access-control-allow-origin'] !== undefined
  if (!isAllowed || asking.headers.get('access-control-request-method') === null) return allowed
  const wanted = asking.headers.get('access-control-request-headers') ?? ''
  // Clients send many of their own (`x-stainless-os`); without credentials none can do harm.
  const names = wanted.split(',').flatMap((name) => (/^[\w-]{1,64}$/.test(name.trim()) ? [name.trim()] : []))
  return {
    ...allowed,
    vary: 'Origin, Access-Control-Request-Headers',
    'access-control-allow-methods': methods.join(', '),
    ...(names.length > 0 && { 'access-control-allow-headers': names.join(', ') }),
    'access-control-max-age': String(preflightSeconds),
  }
}
