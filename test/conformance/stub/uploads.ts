import { fault, type Asked, type Part, type Told } from './answers.ts'
import type { StubFiles } from './files.ts'

type Upload = {
  readonly id: string
  readonly bytes: number
  readonly status: string
  [field: string]: unknown
}

/** Uploads in memory: their parts, and the files that they become. */
export function stubUploads(files: Pick<StubFiles, 'keep'>): Part {
  const uploads = new Map<string, Upload>()
  const parts = new Map<string, Buffer>()
  const now = (): number => Math.floor(Date.now() / 1_000)

  function created({ bytes, filename, purpose }: any): Told {
    const times = { created_at: now(), expires_at: now() + 3_600 }
    const id = `upload_${crypto.randomUUID()}`
    return changed({ id, object: 'upload', bytes, filename, purpose, status: 'pending', ...times })
  }

  function changed(upload: Upload): Told {
    uploads.set(upload.id, upload)
    return { status: 200, json: upload }
  }

  function added({ id }: Upload, { form }: Asked): Told {
    const [data] = form.get('data') ?? []
    if (data === undefined || typeof data === 'string') return fault(400, 'No data was sent.', 'data')
    const part = {
      id: `part_${crypto.randomUUID()}`,
      object: 'upload.part',
      created_at: now(),
      upload_id: id,
    }
    parts.set(`${id} ${part.id}`, data.bytes)
    return { status: 200, json: part }
  }

  function completed(upload: Upload, ids: readonly string[]): Told {
    const found = ids.flatMap((id) => parts.get(`${upload.id} ${id}`) ?? [])
    if (found.length < ids.length) return fault(400, 'No such part.', 'part_ids')
    const content = Buffer.concat(found)
    if (content.length !== upload.bytes) return fault(400, 'The parts have other bytes than were told.')
    const { filename, purpose } = upload
    const times = { created_at: now(), expires_at: now() + 30 * 86_400 }
    return changed({
      ...upload,
      status: 'completed',
      file: files.keep(content, { filename, purpose, ...times }),
    })
  }

  return (asked) => {
    const { method, path, json } = asked
    const [isOurs, id, act] = /^\/uploads(?:\/([^/]+)\/(parts|complete|cancel))?$/.exec(path) ?? []
    if (isOurs === undefined || method !== 'POST') return undefined
    if (id === undefined) return created(json)
    const upload = uploads.get(id)
    if (upload === undefined) return fault(404, `No such Upload object: ${id}`)
    if (upload.status !== 'pending') return fault(400, `Upload ${id} is ${upload.status}.`)
    if (act === 'parts') return added(upload, asked)
    return act === 'complete' ? completed(upload, json.part_ids) : changed({ ...upload, status: 'cancelled' })
  }
}
