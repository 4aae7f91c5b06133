/** The two paths on which Azure takes a generation, and the one on which it takes an edit. */
export type Door =
  | {
      readonly kind: 'deployments'
      readonly operation: 'generations' | 'edits'
      readonly deployment: string
      readonly apiVersion: string
    }
  | { readonly kind: 'v1'; readonly operation: 'generations'; readonly apiVersion: string }

/** The door that a request came to, or undefined where Azure has none. */
export function doorOf(method: string | undefined, path: string | undefined): Door | undefined {
  const url = URL.parse(path ?? '', 'http://localhost')
  if (method !== 'POST' || url === null) return undefined
  const apiVersion = url.searchParams.get('api-version') ?? ''
  if (url.pathname === '/openai/v1/images/generations') {
    return { kind: 'v1', operation: 'generations', apiVersion }
  }
  const [, deployment, edits] =
    /^\/openai\/deployments\/([^/]+)\/images\/(?:generations|(edits))$/.exec(url.pathname) ?? []
  if (deployment === undefined) return undefined
  const operation = edits === undefined ? 'generations' : 'edits'
  return { kind: 'deployments', operation, deployment, apiVersion }
}

export function takesVersion(door: Door, apiVersions: readonly string[]): boolean {
  return door.kind === 'v1'
    ? ['', 'v1', 'preview'].includes(door.apiVersion)
    : apiVersions.includes(door.apiVersion)
}

/** Azure takes the key in `api-key`; any bearer token stands for a valid Entra token. */
export function isLetIn(
  headers: { readonly apiKey: string | undefined; readonly authorization: string | undefined },
  settings: { readonly apiKey: string; readonly wrongKey: boolean },
): boolean {
  if (settings.wrongKey) return false
  if (headers.apiKey !== undefined) return headers.apiKey === settings.apiKey
  return /^Bearer \S+$/i.test(headers.authorization ?? '')
}
