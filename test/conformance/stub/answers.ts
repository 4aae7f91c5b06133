/** A request that was read: its path without `/v1`, its query, and its body as JSON or as a form. */
export type Asked = {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly json: any
  /** Texts, and uploads, by the names of their fields. */
  readonly form: ReadonlyMap<string, readonly (string | Upload)[]>
}

export type Upload = { readonly name: string; readonly bytes: Buffer }

export type Told = { readonly status: number; readonly json?: unknown; readonly bytes?: Uint8Array }

/** The parts of the stub: undefined when the request is none of theirs. */
export type Part = (asked: Asked) => Told | undefined

export function fault(status: number, message: string, param: string | null = null): Told {
  return { status, json: { error: { message, type: 'invalid_request_error', param, code: null } } }
}

/** One page of a list whose first entry comes first. */
export function pageOf(
  entries: readonly Readonly<{ id: string }>[],
  query: URLSearchParams,
  limitUsual: number,
): Told {
  const start = query.has('after') ? entries.findIndex(({ id }) => id === query.get('after')) + 1 : 0
  const end = start + Number(query.get('limit') ?? limitUsual)
  const data = entries.slice(start, end)
  const ends = { first_id: data.at(0)?.id ?? '', last_id: data.at(-1)?.id ?? '' }
  return { status: 200, json: { object: 'list', data, ...ends, has_more: end < entries.length } }
}
