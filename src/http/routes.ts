import type { HttpMethod } from '@azure/functions'
import type { Call, Reply } from './reply.ts'

/** One of the service's routes, as the functions host is told of it. */
export type Route = {
  /** Of the function. */
  readonly name: string
  readonly method: HttpMethod
  /** In Azure's syntax, `v1/jobs/{id}`, without a slash before it; empty for `/`. */
  readonly path: string
  /** For everybody: no key is wanted. */
  readonly isOpen: boolean
  /** A POST that does no harm when it comes twice: clients may send it again by themselves after a failure of ours. */
  readonly isRepeatable?: boolean
  readonly handle: (call: Call) => Promise<Reply>
}

/** What the path takes; HEAD goes where GET goes. Empty: there is no such path. */
export function methodsOf(routes: readonly Route[], path: string): readonly string[] {
  const parts = partsOf(path)
  const found = routes.filter((route) => isMatch(partsOf(route.path), parts)).map(({ method }) => method)
  const methods = new Set(found.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])))
  return methods.size === 0 ? [] : [...methods, 'OPTIONS']
}

function partsOf(path: string): readonly string[] {
  return path.split('/').filter((part) => part !== '')
}

/** As hosts match: deaf to letter case, and a parameter is any text. */
function isMatch(pattern: readonly string[], parts: readonly string[]): boolean {
  return (
    pattern.length === parts.length &&
    pattern.every((part, index) => part.startsWith('{') || part.toLowerCase() === parts[index]?.toLowerCase())
  )
}
