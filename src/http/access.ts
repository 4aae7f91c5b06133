import { createHash, timingSafeEqual } from 'node:crypto'
import { localCaller, type Caller } from '../core/caller.ts'
import type { Log } from '../ports/log.ts'
import type { ApiKey, Settings } from '../settings.ts'
import type { ApiError } from './reply.ts'

/** What decides who may ask for what. It is known without storage, before anything of a request is done. */
export type AccessPolicy = {
  readonly keys: readonly ApiKey[]
  /** The variables that say that this runs on Azure, where others than this machine's user can reach it; null: none. */
  readonly azureSigns: string | null
  /** The web pages that may call it from a browser; `*` stands for all. */
  readonly corsOrigins: readonly string[]
  readonly now: () => number
  readonly log: Log
}

export function accessPolicy(
  { apiKeys: keys, azureSigns, corsOrigins }: Pick<Settings, 'apiKeys' | 'azureSigns' | 'corsOrigins'>,
  { now, log }: Pick<AccessPolicy, 'now' | 'log'>,
): AccessPolicy {
  return { keys, azureSigns, corsOrigins, now, log }
}

export type Asking = {
  readonly method: string
  readonly url: string
  readonly headers: Pick<Headers, 'get'>
}

export type Admission =
  | { readonly kind: 'caller'; readonly caller: Caller }
  | { readonly kind: 'refused'; readonly error: ApiError }

/** Who asks, or why nobody may. `isOpen`: the route is for everybody. */
export function admit(policy: AccessPolicy, asking: Asking, isOpen: boolean): Admission {
  if (policy.keys.length === 0) return admitWithoutKeys(policy, asking, isOpen)
  if (isOpen) return { kind: 'caller', caller: nobody }
  const presented = presentedKey(asking.headers)
  const key = presented === undefined ? undefined : keyOf(policy.keys, presented)
  if (key === undefined) return refused(presented === undefined ? noKey : wrongKey)
  const { name, isAdmin, isReadOnly } = key
  if (isReadOnly && !isReading(asking.method)) return refused(readOnlyKey)
  return { kind: 'caller', caller: { key: name, isAdmin, isReadOnly } }
}

/** Of a route that is for everybody nobody's things are asked. */
const nobody: Caller = { key: null, isAdmin: false, isReadOnly: true }

const noKey: ApiError = {
  status: 401,
  code: 'invalid_api_key',
  message: 'an API key is wanted, as Authorization: Bearer KEY or api-key: KEY',
}

const wrongKey: ApiError = {
  status: 401,
  code: 'invalid_api_key',
  message: 'the API key is none of those in DARKROOM_API_KEYS',
}

const readOnlyKey: ApiError = {
  status: 403,
  code: 'permission_denied',
  message: 'the API key is read-only: it may GET, and nothing else',
}

function isReading(method: string): boolean {
  return method === 'GET' || method === 'HEAD'
}

/** The first that is there: a client that sends two means the one that its library puts first. */
function presentedKey(headers: Asking['headers']): string | undefined {
  const bearer = /^bearer +(\S+) *$/i.exec(headers.get('authorization') ?? '')?.[1]
  const given = [bearer, headers.get('api-key'), headers.get('x-functions-key')]
  return given.find((key) => key !== undefined && key !== null && key !== '') ?? undefined
}

/** Compared with every key, each in constant time: how long it takes says nothing about any of them. */
function keyOf(keys: readonly ApiKey[], presented: string): ApiKey | undefined {
  const hash = createHash('sha256').update(presented).digest()
  let found: ApiKey | undefined
  for (const key of keys) {
    if (timingSafeEqual(hash, Buffer.from(key.sha256, 'hex'))) found = key
  }
  return found
}

/** Whoever reaches the service may then do all, so it answers nobody but this machine's own user. */
function admitWithoutKeys(policy: AccessPolicy, { headers, url }: Asking, isOpen: boolean): Admission {
  if (policy.azureSigns !== null) {
    if (isOpen) return { kind: 'caller', caller: nobody }
    tellKeysAreMissing(policy)
    const message = `the service runs on Azure (${policy.azureSigns} are set) without API keys, and so answers nobody; its log says what to do`
    return refused({ status: 503, code: 'keys_not_set', message })
  }
  // A page that has its own name point to this machine is told by the name it asks for.
  const hosts = [
    URL.parse(url)?.host,
    headers.get('host'),
    ...(headers.get('x-forwarded-host') ?? '').split(','),
  ]
  if (!hosts.every((host) => host === undefined || host === null || host === '' || isLoopback(host))) {
    const message =
      'no API keys are set, so the service answers on this machine only; npm run key makes one for DARKROOM_API_KEYS'
    return refused({ status: 403, code: 'loopback_only', message })
  }
  // And one that sends a form across by the name that it asks from.
  const origin = headers.get('origin')
  const isOurs =
    origin === null ||
    isLoopback(URL.parse(origin)?.host ?? '') ||
    isAllowedOrigin(policy.corsOrigins, origin)
  if (!isOurs) {
    const message =
      'no API keys are set, so web pages of other places are refused; CORS_ORIGINS may allow them'
    return refused({ status: 403, code: 'cross_origin', message })
  }
  return { kind: 'caller', caller: localCaller }
}

export function isAllowedOrigin(origins: readonly string[], origin: string): boolean {
  return origins.includes('*') || origins.includes(origin)
}

function isLoopback(host: string): boolean {
  const name = URL.parse(`http://${host.trim()}`)?.hostname ?? ''
  return name === 'localhost' || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name)
}

function tellKeysAreMissing({ log, azureSigns }: AccessPolicy): void {
  const text = `requests are refused: DARKROOM_API_KEYS is not set, and on Azure, where ${azureSigns} are set, anyone could ask; make a key with npm run key and set it`
  log.event('keys_not_set', { text })
}

function refused(error: ApiError): Admission {
  return { kind: 'refused', error }
}
