/**
 * A route in find-my-way's syntax, the name under which Azure gives what a trailing `*` matched, and what that must look
 * like.
 */
export type RoutePattern = {
  readonly path: string
  readonly restName: string | undefined
  readonly rest?: RegExp
}

/** The ASP.NET route constraints that the local host knows, as the pattern a value must match. */
const constraints: Readonly<Record<string, string>> = {
  int: '^-?\\d{1,10}$',
  long: '^-?\\d{1,19}$',
  alpha: '^[A-Za-z]+$',
  bool: '^(?:[Tt]rue|[Ff]alse)$',
  guid: '^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$',
}

/**
 * Turns a route in Azure's syntax (`jobs/{id:int}/{part?}`, `files/{*rest}`) into the patterns that together match what
 * it matches: an optional last parameter also matches when it is absent. `regex(…)` is known for a trailing `*` only.
 * Throws for a constraint it does not know.
 */
export function readRoute(prefix: string, route: string): RoutePattern[] {
  const segments = [...prefix.split('/'), ...route.split('/')].filter((segment) => segment !== '')
  const parent = `/${segments.slice(0, -1).map(readSegment).join('/')}`
  const last = segments.at(-1)
  if (last === undefined) return [{ path: '/', restName: undefined }]
  const full = (segment: string) => (parent === '/' ? `/${segment}` : `${parent}/${segment}`)
  const [, restName, expression] = /^\{\*+(\w+)(?::regex\((.*)\))?\??\}$/.exec(last) ?? []
  if (restName !== undefined) {
    // Matched in any case of letters, as ASP.NET does.
    const rest = expression === undefined ? {} : { rest: new RegExp(expression, 'i') }
    return [
      { path: parent, restName, ...rest },
      { path: full('*'), restName, ...rest },
    ]
  }
  const pattern = { path: full(readSegment(last)), restName: undefined }
  return last.endsWith('?}') ? [{ path: parent, restName: undefined }, pattern] : [pattern]
}

function readSegment(segment: string): string {
  const escaped = segment.replaceAll(':', '::')
  return escaped.replace(/\{([^}]*)\}/g, (_, parameter: string) =>
    readParameter(parameter.replaceAll('::', ':')),
  )
}

function readParameter(parameter: string): string {
  const found = /^(\w+)(?::(\w+))?\??$/.exec(parameter)
  const [, name, constraint] = found ?? []
  if (name === undefined)
    throw new Error(`got the route parameter {${parameter}}, wanted {name}, {name?} or {name:int}`)
  if (constraint === undefined) return `:${name}`
  const pattern = constraints[constraint]
  if (pattern !== undefined) return `:${name}(${pattern})`
  const known = Object.keys(constraints).join(', ')
  throw new Error(`got the route constraint "${constraint}", the local host knows ${known}`)
}
