import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { answers, uploadPaths, uploadSchemas } from './upload-specs.ts'

export type Schema = { readonly [keyword: string]: any }

export type Operation = {
  /** As in `GET /files/{file_id}`. */
  readonly name: string
  readonly method: string
  readonly path: RegExp
  /** The names of the parameters in its query. */
  readonly query: Readonly<Record<string, Schema>>
  /** By content type. */
  readonly body: Readonly<Record<string, Schema>>
  /** Of a good answer; undefined when that is bytes. */
  readonly answer: Schema | undefined
}

export type Specs = {
  /** What all `$ref`s lead into. */
  readonly schemas: Readonly<Record<string, Schema>>
  readonly operations: readonly Operation[]
  /** OpenAI's own example of an object, as in `Batch`. */
  readonly exampleOf: (schema: string) => Record<string, any>
}

const openaiFile = 'openai-openapi-images-batches-files.2026-08-21.json'
const linesFile = 'openai-BatchRequestInput-Output.manual_spec-branch.yaml'

/** Only of dall-e-2, which Azure has not. */
const isLeftOut = (path: string): boolean => path === '/images/variations'

/** Throws when the folder does not hold what OpenAI has written down. */
export async function readSpecs(folder: string): Promise<Specs> {
  const openai = parse(await readSpec(folder, openaiFile))
  const lines = parse(await readSpec(folder, linesFile))
  const schemas: Record<string, Schema> = {
    ...openai.components.schemas,
    ...lines,
    ...addedSchemas,
    ...uploadSchemas,
  }
  const paths = Object.entries<Schema>(openai.paths).filter(([path]) => !isLeftOut(path))
  const added = Object.entries({ ...addedPaths, ...uploadPaths })
  return {
    schemas,
    operations: [...paths, ...added].flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => operationOf(path, method, operation)),
    ),
    // Their last lines end with commas: no JSON, but YAML.
    exampleOf: (schema) => parse(schemas[schema]!['x-oaiMeta'].example),
  }
}

async function readSpec(folder: string, name: string): Promise<string> {
  try {
    return await readFile(join(folder, name), 'utf8')
  } catch (cause) {
    throw new Error(
      `${join(folder, name)} cannot be read. The conformance run holds answers against OpenAI's own schemas, which lie beside the project in ../shared/specs; --specs=FOLDER names another place`,
      { cause },
    )
  }
}

/**
 * What the extract of OpenAI's specification leaves out. Source: openai/openai-openapi, `Error`, `ErrorResponse`,
 * `DeleteFileResponse`, `retrieveFile`, `deleteFile` and `downloadFile`; the same in the pages of its API reference.
 */
const addedSchemas: Readonly<Record<string, Schema>> = {
  ErrorResponse: {
    type: 'object',
    properties: { error: { $ref: '#/components/schemas/Error' } },
    required: ['error'],
  },
  Error: {
    type: 'object',
    properties: {
      message: { type: 'string', minLength: 1 },
      type: { type: 'string', minLength: 1 },
      param: { type: 'string', nullable: true },
      code: { type: 'string', nullable: true },
    },
    required: ['message', 'type', 'param', 'code'],
  },
  DeleteFileResponse: {
    type: 'object',
    properties: { id: { type: 'string' }, object: { const: 'file' }, deleted: { type: 'boolean' } },
    required: ['id', 'object', 'deleted'],
  },
}

const addedPaths: Readonly<Record<string, Schema>> = {
  '/files/{file_id}': { get: answers('OpenAIFile'), delete: answers('DeleteFileResponse') },
  '/files/{file_id}/content': { get: { responses: { 200: {} } } },
}

function operationOf(path: string, method: string, operation: Schema): Operation {
  const parameters: readonly Schema[] = operation['parameters'] ?? []
  const contents: readonly (readonly [string, Schema])[] = Object.entries(
    operation['requestBody']?.content ?? {},
  )
  return {
    name: `${method.toUpperCase()} ${path}`,
    method: method.toUpperCase(),
    path: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
    query: Object.fromEntries(
      parameters.filter(({ in: place }) => place === 'query').map(({ name, schema }) => [name, schema]),
    ),
    body: Object.fromEntries(contents.map(([type, { schema }]) => [type, schema])),
    answer: operation['responses'][200].content?.['application/json'].schema,
  }
}
