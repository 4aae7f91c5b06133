import { checkAgainst, named, type Check } from './schemas.ts'
import type { Operation, Schema, Specs } from './specs.ts'

export type Fault = { readonly where: string; readonly what: string }

export type Recorder = {
  /** For the `fetch` option of the client: passes all on as it is, and checks a copy. */
  readonly fetch: typeof globalThis.fetch
  readonly faults: () => readonly Fault[]
  /** How many answers of each operation were checked, and how many lines of result files. */
  readonly counts: () => ReadonlyMap<string, number>
  readonly operationsNotAsked: () => readonly string[]
}

/**
 * `isStub`: the answers are to be OpenAI's own. Then they may hold nothing beyond its schemas, and null stands for what is
 * not there: so it is in the examples of its specification, where its schemas know no null.
 */
export function recorder(specs: Specs, { isStub = false } = {}): Recorder {
  const answers = checkAgainst(specs, { isClosed: isStub })
  // What is asked is OpenAI's alone, whoever is asked.
  const bodies = checkAgainst(specs, { isClosed: true })
  const forms = checkAgainst(specs, { isClosed: true, isForm: true })
  const rules = checkAgainst(specs)
  const faults: Fault[] = []
  const counts = new Map<string, number>()
  const resultFiles = new Set<string>()

  function check(where: string, how: Check, schema: Schema, value: unknown): void {
    for (const what of how(schema, value)) faults.push({ where, what })
  }
  function checked(what: string): void {
    counts.set(what, (counts.get(what) ?? 0) + 1)
  }

  async function checkRequest(where: string, { query, body }: Operation, request: Request): Promise<void> {
    for (const [name, value] of new URL(request.url).searchParams) {
      check(`${where}, query`, forms, { type: 'object', properties: query }, { [name]: value })
    }
    const type = (request.headers.get('content-type') ?? '').split(';')[0]!
    const schema = body[type]
    const isEmpty = request.body === null
    if (schema === undefined) {
      if (!isEmpty) faults.push({ where, what: `the request's body is of the type ${type || 'none'}` })
    } else if (type === 'multipart/form-data') {
      check(`${where}, request`, forms, schema, await formValue(request, where))
    } else {
      check(`${where}, request`, bodies, schema, await request.json())
    }
  }

  /** A form as an object: `a[b]` is a field in `a`, `a[]` one of several, and files are what `format: binary` stands for. */
  async function formValue(request: Request, where: string): Promise<unknown> {
    const value: Record<string, any> = {}
    const form = await request.formData()
    for (const [name, given] of form) {
      const [, field = name, part] = /^(.+)\[(\w*)\]$/.exec(name) ?? []
      const text = typeof given === 'string' ? given : ''
      if (part === undefined) value[field] = text
      else if (part === '') (value[field] ??= []).push(text)
      else (value[field] ??= {})[part] = text
    }
    const file = form.get('file')
    if (file instanceof File && value['purpose'] === 'batch') checkInput(where, await file.text())
    return value
  }

  function checkInput(where: string, text: string): void {
    for (const [index, line] of linesOf(text)) {
      // A line that is no JSON is what the step of the faulty file is about.
      if (line === undefined) continue
      const place = `${where}, line ${index + 1}`
      check(place, rules, inputLine, line)
      const body = line.url === '/v1/images/edits' ? 'EditImageBodyJsonParam' : 'CreateImageRequest'
      check(`${place}, body`, bodies, named(body), line.body)
    }
  }

  async function checkAnswer(where: string, operation: Operation, response: Response): Promise<void> {
    checked(`${operation.name} ${response.status}`)
    if (!response.headers.has('x-request-id')) faults.push({ where, what: 'no x-request-id' })
    const schema = response.ok ? operation.answer : named('ErrorResponse')
    const type = response.headers.get('content-type') ?? 'none'
    if (schema === undefined) {
      const [, id = ''] = /\/files\/([^/]+)\/content$/.exec(new URL(response.url).pathname) ?? []
      if (resultFiles.has(id)) checkResults(where, await response.text())
      return
    }
    if (!type.startsWith('application/json')) {
      faults.push({ where, what: `content-type: wanted application/json, got ${type}` })
      return
    }
    const text = await response.text()
    const value = parsed(text)
    if (value === undefined) faults.push({ where, what: `wanted JSON, got ${text.slice(0, 200)}` })
    else check(where, answers, schema, isStub && response.ok ? withoutNulls(value) : value)
    for (const batch of [value, ...(value?.data ?? [])]) {
      if (batch?.object !== 'batch') continue
      for (const id of [batch.output_file_id, batch.error_file_id]) if (id) resultFiles.add(id)
    }
  }

  function checkResults(where: string, text: string): void {
    for (const [index, line] of linesOf(text)) {
      checked('lines of result files')
      const place = `${where}, line ${index + 1}`
      check(place, answers, named('BatchRequestOutput'), line)
      check(place, rules, resultLine, line)
      if (line?.response?.status_code === 200) {
        check(`${place}, response.body`, answers, named('ImagesResponse'), line.response.body)
        check(`${place}, response.body`, rules, imagesInIt, line.response.body)
      } else if (line?.response) {
        check(`${place}, response.body`, answers, named('ErrorResponse'), line.response.body)
      }
    }
  }

  return {
    async fetch(input, init) {
      const request = new Request(input, init)
      // The client asks `data:,` to see what its fetch can do.
      if (new URL(request.url).protocol === 'data:') return fetch(request)
      const path = new URL(request.url).pathname.replace(/^\/v1/, '')
      const operation = specs.operations.find(
        (each) => each.method === request.method && each.path.test(path),
      )
      const copy = request.clone()
      const response = await fetch(request)
      const where = `${request.method} ${path} (${response.status})`
      if (operation === undefined) {
        faults.push({ where, what: 'it is no operation of the specification' })
      } else {
        await checkRequest(where, operation, copy)
        await checkAnswer(where, operation, response.clone())
      }
      return response
    },
    faults: () => faults,
    counts: () => counts,
    operationsNotAsked: () =>
      specs.operations.map(({ name }) => name).filter((name) => !counts.has(`${name} 200`)),
  }
}

/** The extract names no field that must be there, and not `body`; the guide to batches, and its example, show all four. */
const inputLine: Schema = {
  allOf: [named('BatchRequestInput'), { required: ['custom_id', 'method', 'url', 'body'] }],
}

/**
 * The extract names no field of a line that must be there, but its example, and the guide to batches, show all four, with
 * one of `response` and `error` null.
 */
const resultLine: Schema = {
  required: ['id', 'custom_id', 'response', 'error'],
  oneOf: [
    { properties: { response: { type: 'null' }, error: { required: ['code', 'message'] } } },
    {
      properties: { response: { required: ['status_code', 'request_id', 'body'] }, error: { type: 'null' } },
    },
  ],
}

/** `ImagesResponse` would do without images. */
const imagesInIt: Schema = {
  properties: {
    data: { minItems: 1, items: { oneOf: [{ required: ['b64_json'] }, { required: ['url'] }] } },
  },
  required: ['data'],
}

function linesOf(text: string): readonly (readonly [number, any])[] {
  const lines = [...text.split('\n').entries()]
  return lines.filter(([, line]) => line !== '').map(([index, line]) => [index, parsed(line)])
}

function parsed(text: string): any {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function withoutNulls(value: any): any {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  const fields = Object.entries(value).filter(([, each]) => each !== null)
  return Object.fromEntries(fields.map(([name, each]) => [name, withoutNulls(each)]))
}
