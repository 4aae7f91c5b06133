import type { Specs } from '../specs.ts'
import { fault, pageOf, type Asked, type Part, type Told } from './answers.ts'

export type StubFiles = {
  readonly part: Part
  /** Makes a file with these fields, and answers with it. */
  readonly keep: (content: Buffer, fields: Record<string, unknown>) => { readonly id: string }
  readonly read: (id: string) => Buffer | undefined
}

/** Keeps files in memory. */
export function stubFiles(specs: Specs): StubFiles {
  const contents = new Map<string, Buffer>()
  /** Newest first. */
  let files: readonly Readonly<{ id: string; [field: string]: unknown }>[] = []

  function keep(content: Buffer, fields: Record<string, unknown>): { readonly id: string } {
    const file = {
      ...specs.exampleOf('OpenAIFile'),
      id: `file-${crypto.randomUUID()}`,
      bytes: content.length,
      // The example has no status.
      status: 'processed',
      ...fields,
    }
    contents.set(file.id, content)
    files = [file, ...files]
    return file
  }

  function posted({ form }: Asked): Told {
    const [file] = form.get('file') ?? []
    const [purpose] = form.get('purpose') ?? []
    if (file === undefined || typeof file === 'string') return fault(400, 'No file was sent.', 'file')
    const createdAt = Math.floor(Date.now() / 1_000)
    const seconds = Number(form.get('expires_after[seconds]')?.[0] ?? 30 * 86_400)
    const times = { created_at: createdAt, expires_at: createdAt + seconds }
    return { status: 200, json: keep(file.bytes, { filename: file.name, purpose, ...times }) }
  }

  function listed({ query }: Asked): Told {
    const purpose = query.get('purpose')
    const found = files.filter((file) => purpose === null || file['purpose'] === purpose)
    return pageOf(query.get('order') === 'asc' ? found.toReversed() : found, query, 10_000)
  }

  function removed(id: string): Told {
    files = files.filter((file) => file.id !== id)
    contents.delete(id)
    return { status: 200, json: { id, object: 'file', deleted: true } }
  }

  return {
    keep,
    read: (id) => contents.get(id),
    part(asked) {
      const { method, path } = asked
      const [isOurs, id, isContent] = /^\/files(?:\/([^/]+)(\/content)?)?$/.exec(path) ?? []
      if (isOurs === undefined) return undefined
      if (id === undefined) return method === 'POST' ? posted(asked) : listed(asked)
      const file = files.find((each) => each.id === id)
      if (file === undefined) return fault(404, `No such File object: ${id}`, 'id')
      if (isContent !== undefined) return { status: 200, bytes: contents.get(id)! }
      return method === 'DELETE' ? removed(id) : { status: 200, json: file }
    },
  }
}
