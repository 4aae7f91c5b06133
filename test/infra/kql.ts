/**
 * Runs the part of KQL that our alerts are written in over rows, so that a test sees whether an alert would be raised. As in
 * Azure, what compares with nothing is false, and whatever is not known here is an error.
 */
export type Row = Readonly<Record<string, unknown>>

export function runQuery(query: string, rows: readonly Row[], now: number): readonly Row[] {
  const [, ...steps] = query.split(/\n\| /)
  return steps.reduce((found, step) => runStep(step, found, now), rows)
}

function runStep(step: string, rows: readonly Row[], now: number): readonly Row[] {
  const [, verb = '', rest = ''] = /^(\w+) (.*)$/.exec(step) ?? []
  switch (verb) {
    case 'where': {
      const condition = parse(rest)
      return rows.filter((row) => condition(row, now) === true)
    }
    case 'extend': {
      const [name, value] = assignment(rest)
      return rows.map((row) => ({ ...row, [name]: value(row, now) }))
    }
    case 'summarize': {
      const [sums = '', by = ''] = rest.split(' by ')
      const [key, keyOf] = assignment(by)
      const columns = sums.split(', ').map((sum) => {
        const [, name = '', condition = ''] = /^(\w+) = countif\((\w+)\)$/.exec(sum) ?? []
        if (name === '') throw new Error(`not known: ${sum}`)
        return { name, condition: parse(condition) }
      })
      return [...Map.groupBy(rows, (row) => keyOf(row, now))].map(([group, members]) => ({
        [key]: group,
        ...Object.fromEntries(
          columns.map(({ name, condition }) => [
            name,
            members.filter((row) => condition(row, now) === true).length,
          ]),
        ),
      }))
    }
    default:
      throw new Error(`not known: ${step}`)
  }
}

type Expression = (row: Row, now: number) => unknown

function assignment(text: string): readonly [string, Expression] {
  const [, name = text, value = text] = /^(\w+) = (.*)$/.exec(text) ?? []
  return [name, parse(value)]
}

const tokenPattern = /\s*('[^']*'|\d+m\b|\d+|[A-Za-z_][\w.]*|==|=~|<=|>=|<|>|[(),])/y

function parse(text: string): Expression {
  const tokens: string[] = []
  tokenPattern.lastIndex = 0
  while (tokenPattern.lastIndex < text.length) {
    const at = tokenPattern.lastIndex
    const [, token] = tokenPattern.exec(text) ?? []
    if (token === undefined) throw new Error(`not known: ${text.slice(at)}`)
    tokens.push(token)
  }
  const expression = parseAll(tokens)
  if (tokens.length > 0) throw new Error(`left over: ${tokens.join(' ')}`)
  return expression
}

/** Without `or` and `not`, which no alert has. */
function parseAll(tokens: string[]): Expression {
  const left = parseComparison(tokens)
  if (tokens[0] !== 'and') return left
  tokens.shift()
  const right = parseAll(tokens)
  return (row, now) => left(row, now) === true && right(row, now) === true
}

const comparisons: Readonly<Record<string, (a: any, b: any) => boolean>> = {
  '==': (a, b) => a === b,
  '=~': (a, b) => String(a).toLowerCase() === String(b).toLowerCase(),
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
  startswith: (a, b) => String(a).toLowerCase().startsWith(String(b).toLowerCase()),
}

function parseComparison(tokens: string[]): Expression {
  const left = parseValue(tokens)
  if (tokens[0] === 'in') {
    tokens.shift()
    const list = listed(tokens)
    return (row, now) => list.some((each) => each(row, now) === left(row, now))
  }
  const compare = comparisons[tokens[0] ?? '']
  if (compare === undefined) return left
  tokens.shift()
  const right = parseValue(tokens)
  return (row, now) => {
    const [a, b] = [left(row, now), right(row, now)]
    return a !== null && b !== null && compare(a, b)
  }
}

const functions: Readonly<Record<string, (value: any, now: number) => unknown>> = {
  tostring: (value) => (value === null ? '' : String(value)),
  toint: (value) => (value === null ? null : Math.trunc(Number(value))),
  isnotnull: (value) => value !== null,
  parse_json: (value) => JSON.parse(value),
  ago: (ms, now) => now - ms,
}

function parseValue(tokens: string[]): Expression {
  const token = tokens.shift() ?? ''
  if (token.startsWith("'")) return () => token.slice(1, -1)
  if (/^\d+m$/.test(token)) return () => Number(token.slice(0, -1)) * 60_000
  if (/^\d+$/.test(token)) return () => Number(token)
  if (tokens[0] === '(') {
    const call = functions[token]
    const [argument, ...others] = listed(tokens)
    if (call === undefined || argument === undefined || others.length > 0)
      throw new Error(`not known: ${token}()`)
    return (row, now) => call(argument(row, now), now)
  }
  const path = token.split('.')
  return (row) => path.reduce<any>((value, name) => value?.[name], row) ?? null
}

function listed(tokens: string[]): readonly Expression[] {
  const list: Expression[] = []
  for (let token = tokens.shift(); token !== ')'; token = tokens.shift()) {
    if (token === undefined) throw new Error('a bracket is not closed')
    list.push(parseComparison(tokens))
  }
  return list
}
