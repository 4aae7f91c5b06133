import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { Schema, Specs } from './specs.ts'

/** Where all of them lie, as one document. */
const base = 'https://openai.invalid/openapi.json'

/** Says what is wrong with a value, a line each: `/data/0/id: wanted string, got 5`. None: it is as the schema wants it. */
export type Check = (schema: Schema, value: unknown) => readonly string[]

/**
 * `isClosed`: what the schemas do not name is a fault as well. They are open otherwise, as OpenAI's are.
 * `isForm`: the values come as texts, as forms send them.
 */
export function checkAgainst({ schemas }: Specs, { isClosed = false, isForm = false } = {}): Check {
  const ajv = new Ajv2020({
    // OpenAPI's own words (`example`, `x-…`) stand among those of JSON Schema.
    strict: false,
    allErrors: true,
    verbose: true,
    coerceTypes: isForm,
  })
  addFormats.default(ajv)
  ajv.addFormat('binary', true)
  // Milliseconds would be whole numbers too.
  ajv.addFormat('unixtime', { type: 'number', validate: (time) => time > 1e9 && time < 1e10 })
  const made = (schema: Schema): Schema => forAjv(schema, isClosed)
  ajv.addSchema({ $id: base, components: { schemas: made(schemas) } })
  const compiled = new Map<string, ValidateFunction>()
  return (schema, value) => {
    const key = JSON.stringify(schema)
    const validate = compiled.get(key) ?? ajv.compile({ ...made(schema), $id: `${base}?${compiled.size}` })
    compiled.set(key, validate)
    return validate(value) ? [] : (validate.errors ?? []).map(describe)
  }
}

/** One of those that have names. */
export function named(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` }
}

/** OpenAPI 3.0's `nullable` beside `enum` or `anyOf` is not what JSON Schema understands by it. */
function forAjv(schema: Schema, isClosed: boolean): Schema {
  const { nullable, ...rest } = Object.fromEntries(
    Object.entries(schema).map(([keyword, value]) => [keyword, inner(keyword, value, isClosed)]),
  )
  const isOpen = rest['properties'] !== undefined && rest['additionalProperties'] === undefined
  const closed = isClosed && isOpen ? { ...rest, additionalProperties: false } : rest
  return nullable === true ? { anyOf: [closed, { type: 'null' }] } : closed
}

function inner(keyword: string, value: any, isClosed: boolean): unknown {
  if (keyword === '$ref') return String(value).replace(/^#/, `${base}#`)
  // Examples look like schemas, and are none.
  if (keyword.startsWith('x-') || keyword === 'example' || keyword === 'examples') return undefined
  if (keyword === 'default' || keyword === 'enum' || keyword === 'const') return value
  if (Array.isArray(value)) {
    return value.map((each) => (isObject(each) ? forAjv(each, isClosed) : each))
  }
  return isObject(value) ? forAjv(value, isClosed) : value
}

function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function describe({ instancePath, keyword, params, message = '', data }: ErrorObject): string {
  const place = instancePath === '' ? '/' : instancePath
  const got = (JSON.stringify(data) ?? 'nothing').slice(0, 200)
  switch (keyword) {
    case 'required':
      return `${place}: wanted ${JSON.stringify(params['missingProperty'])} in it, got ${got}`
    case 'additionalProperties':
      return `${place}: ${JSON.stringify(params['additionalProperty'])} is none of its fields`
    case 'type':
      return `${place}: wanted ${params['type']}, got ${got}`
    case 'enum':
      return `${place}: wanted one of ${JSON.stringify(params['allowedValues'])}, got ${got}`
    case 'format':
      return `${place}: wanted the format ${params['format']}, got ${got}`
    default:
      return `${place}: ${message}, got ${got}`
  }
}
