/** What the parts of a path are named by a route; undefined when the route does not match the path. */
type RouteMatcher = (segments: readonly string[]) => Record<string, string> | undefined

type Part =
  | { readonly kind: 'literal'; readonly text: string }
  | {
      readonly kind: 'parameter' | 'rest'
      readonly name: string
      readonly isOptional: boolean
      readonly wanted: RegExp | undefined
    }

/** The ASP.NET route constraints that the local host knows, as the pattern that a value must match. */
const constraints: Readonly<Record<string, (argument: string) => RegExp>> = {
  int: () => /^-?\d{1,10}$/,
  long: () => /^-?\d{1,19}$/,
  alpha: () => /^[A-Za-z]+$/,
  bool: () => /^(?:[Tt]rue|[Ff]alse)$/,
  guid: () => /^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$/,
  maxlength: (length) => new RegExp(`^[^]{0,${Number(length)}}$`),
  // ASP.NET's own is deaf to letter case as well.
  regex: (expression) => new RegExp(expression, 'i'),
}

/**
 * Reads a route in Azure's syntax: `jobs/{id:int}/{part?}`, `files/{*rest}`. Literal segments match in any letter case.
 * Throws for a constraint, or a form of segment, that the local host does not know.
 */
function routeMatcher(prefix: string, route: string): RouteMatcher {
  const parts = [...prefix.split('/'), ...route.split('/')].filter((part) => part !== '').map(readPart)
  return (segments) => {
    const params: Record<string, string> = {}
    for (const [index, part] of parts.entries()) {
      const value = part.kind === 'rest' ? segments.slice(index).join('/') : segments[index]
      if (part.kind === 'literal') {
        if (value?.toLowerCase() !== part.text) return undefined
      } else if (value === undefined) {
        // A constraint says nothing of an optional parameter that was left out.
        if (!part.isOptional) return undefined
      } else {
        if (part.wanted?.test(value) === false) return undefined
        // What holds nothing is not there for the function.
        if (value !== '') params[part.name] = value
      }
      if (part.kind === 'rest') return params
    }
    return segments.length > parts.length ? undefined : params
  }
}

function readPart(segment: string): Part {
  if (!/[{}]/.test(segment)) return { kind: 'literal', text: segment.toLowerCase() }
  const found = /^\{(\*{0,2})(\w+)(?::(\w+)(?:\((.*)\))?)?(\?)?\}$/.exec(segment)
  if (found === null) {
    throw new Error(`got the route parameter ${segment}, wanted {name}, {name?}, {*name} or {name:int}`)
  }
  const [, stars = '', name = '', constraint, argument = '', optional] = found
  const pattern = constraint === undefined ? undefined : constraints[constraint]
  if (constraint !== undefined && pattern === undefined) {
    const known = Object.keys(constraints).join(', ')
    throw new Error(`got the route constraint "${constraint}", the local host knows ${known}`)
  }
  return {
    kind: stars === '' ? 'parameter' : 'rest',
    name,
    isOptional: optional !== undefined,
    wanted: pattern?.(argument),
  }
}

/** What of a function decides which requests it gets. */
export type Routed = { readonly name: string; readonly methods: readonly string[]; readonly route: string }

/**
 * Which function takes a request, by the real host's rule (seen, 2026-11-30): there is no precedence of routes. The functions
 * are sorted by name, in any letter case, and the first takes the request whose route matches the path and whose trigger
 * names the method.
 */
export function functionChooser<Of extends Routed>(
  functions: readonly Of[],
  routePrefix: string,
): (
  method: string,
  segments: readonly string[],
) => { readonly chosen: Of; readonly params: Record<string, string> } | undefined {
  const sorted = functions
    .map((chosen) => ({
      chosen,
      order: chosen.name.toUpperCase(),
      match: routeMatcher(routePrefix, chosen.route),
    }))
    .sort((one, other) => (one.order < other.order ? -1 : 1))
  return (method, segments) => {
    for (const { chosen, match } of sorted) {
      const params = chosen.methods.includes(method) ? match(segments) : undefined
      if (params !== undefined) return { chosen, params }
    }
    return undefined
  }
}
