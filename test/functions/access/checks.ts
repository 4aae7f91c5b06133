import { expect, vi } from 'vitest'
import { inboxName, type InboxOf } from '../../../src/core/jobs/keys.ts'
import { pauseBatch } from '../../../src/pipeline/batches/batches.ts'
import { png } from '../../support/png.ts'
import { owners, type Answer, type Asked, type Asker, type Owner, type Service } from './service.ts'

/** What is asked of routes that make, list or tell what is the caller's. */

type Askers = { readonly asker: Asker; readonly others: readonly Asker[] }

const prefix = 'toys/'

export const idOf = ({ batch, key }: { batch: string; key: string }): string => `${batch}.${key}`

export function line(body: object = {}, url = '/v1/images/generations'): string {
  return JSON.stringify({ custom_id: 'fox', method: 'POST', url, body: { prompt: 'a fox', ...body } })
}

export function form(fields: Readonly<Record<string, string>>, name: string): FormData {
  const made = new FormData()
  for (const [field, value] of Object.entries(fields)) made.append(field, value)
  made.append(name, new File(['abc'], 'lines.jsonl'))
  return made
}

export const uploadFacts = () => ({
  bytes: 3,
  filename: 'lines.jsonl',
  mime_type: 'application/jsonl',
  purpose: 'batch',
})

/** Who makes something is the only one to whom it is there, beside those who reach all. */
export async function belongsTo(
  service: Service,
  { asker, others }: Askers,
  make: () => Promise<readonly [route: string, asked: Asked]>,
): Promise<void> {
  const [route, asked] = await make()
  for (const other of others) {
    if (!other.mayChange || other === asker) continue
    const mine = await make()
    const { status } = await service.ask(other, ...mine)
    expect([other.name, status]).toEqual([other.name, other.reaches.includes(asker.key) ? 200 : 404])
  }
  expect((await service.ask(asker, route, asked)).status).toBe(200)
}

function inboxOf({ key }: Asker, lineName: InboxOf['line'] = 'inbox'): string {
  return inboxName(Date.now(), { line: lineName, owner: key })
}

export async function checkPostJob(service: Service, asker: Asker, others: readonly Asker[]): Promise<void> {
  const { ask, job, file, run, newName } = service
  const post = async (fields: object): Promise<Answer> =>
    ask(asker, 'post-job', { json: { prompt: 'a fox', ...fields } })
  const single = await post({ custom_id: newName(asker.key) })
  expect(single.status).toBe(202)
  expect(single.json().batch).toBe(inboxOf(asker))
  await belongsTo(service, { asker, others }, async () => {
    const made = await post({ batch: newName(asker.key) })
    return ['get-job', { params: { id: made.json().id } }]
  })
  // Its images lie where its batch and its own name say, which nobody else may write to.
  const batch = newName(asker.key)
  expect((await post({ batch, custom_id: 'fox' })).status).toBe(202)
  expect(await run({ batch, key: 'fox' })).toEqual([`${batch}/fox-0.png`])
  for (const owner of owners) {
    const isReached = asker.reaches.includes(owner)
    const theirs = await job(owner)
    const inTheirs = await post({ batch: theirs.batch, custom_id: 'wolf' })
    expect([owner, inTheirs.status]).toEqual([owner, isReached ? 202 : 403])
    const inbox = inboxName(Date.now(), { owner })
    const inInbox = await post({ batch: inbox, custom_id: newName(asker.key) })
    // The inbox of another is no admin's either: what is there was sent by its key.
    expect([inbox, inInbox.status]).toEqual([inbox, owner === asker.key ? 202 : 403])
    const image = await file(owner, png(), 'vision')
    const edit = await post({ batch: newName(asker.key), image: { file_id: image } })
    expect([owner, edit.status]).toEqual([owner, isReached ? 202 : 400])
    if (!isReached) expect(edit.json().error.code).toBe('input_not_found')
  }
}

export async function checkPostBatch(
  service: Service,
  asker: Asker,
  others: readonly Asker[],
): Promise<void> {
  const { ask, file, run, firstOf } = service
  const post = async (fields: object, headers: Record<string, string> = {}): Promise<Answer> =>
    ask(asker, 'post-batch', {
      json: { endpoint: '/v1/images/generations', completion_window: '24h', ...fields },
      headers,
    })
  await belongsTo(service, { asker, others }, async () => {
    const made = await post({ input_file_id: await file(asker.key, line(), 'batch') })
    return ['get-batch', { params: { name: made.json().id } }]
  })
  // Where its images go.
  for (const wanted of [undefined, prefix]) {
    const made = await post({
      input_file_id: await file(asker.key, line(), 'batch'),
      output_prefix: wanted,
    })
    const { id } = made.json()
    const ref = await firstOf(id)
    const below = wanted === undefined ? `${id}/` : `${asker.imagesBelow}${wanted}`
    for (const place of await run(ref)) expect(place.slice(0, below.length)).toBe(below)
    for (const other of others) {
      const { status } = await ask(other, 'get-image', { params: { id: idOf(ref), k: '0' } })
      expect([other.name, status]).toEqual([other.name, other.reaches.includes(asker.key) ? 200 : 404])
    }
  }
  for (const owner of owners) {
    const isReached = asker.reaches.includes(owner)
    const theirs = await post({ input_file_id: await file(owner, line(), 'batch') })
    expect([owner, theirs.status]).toEqual([owner, isReached ? 200 : 400])
    if (!isReached) expect(theirs.json().error.param).toBe('input_file_id')
    // Nor may a line start from another's picture.
    const picture = await file(owner, png(), 'vision')
    const edits = line({ image: { file_id: picture } }, '/v1/images/edits')
    const input = await file(asker.key, edits, 'batch')
    const made = await post({ input_file_id: input, endpoint: '/v1/images/edits' })
    const name = made.json().id
    const ended = await vi.waitUntil(
      async () => {
        const { status } = (await ask(asker, 'get-batch', { params: { name } })).json()
        return status !== 'validating' && status
      },
      { timeout: 20_000, interval: 50 },
    )
    expect([owner, ended]).toEqual([owner, isReached ? 'in_progress' : 'failed'])
  }
  // A key of idempotency means what its own caller meant by it.
  const again = { 'idempotency-key': 'order-1' }
  const ids = new Set<string>()
  for (const each of others.filter(({ mayChange }) => mayChange)) {
    const made = await ask(each, 'post-batch', {
      json: {
        endpoint: '/v1/images/generations',
        input_file_id: await file(each.key, line(), 'batch'),
      },
      headers: { 'idempotency-key': `${asker.name}-${again['idempotency-key']}` },
    })
    expect(made.status).toBe(200)
    ids.add(made.json().id)
  }
  expect(ids.size).toBe(others.filter(({ mayChange }) => mayChange).length)
}

/** Each page, to the end; answers all ids. */
async function pages(
  { ask }: Service,
  asker: Asker,
  { route, query, after: first = '' }: { route: string; query: string; after?: string },
): Promise<readonly string[]> {
  const ids: string[] = []
  let after = first
  for (let count = 0; count < 100; count += 1) {
    const answer = await ask(asker, route, { query: `?${query}${after && `&after=${after}`}` })
    expect(answer.status).toBe(200)
    const { data, has_more: hasMore, last_id: lastId } = answer.json()
    ids.push(...data.map(({ id }: { id: string }) => id))
    if (hasMore !== true) return ids
    after = lastId
  }
  throw new Error('the list has no end')
}

export async function checkListBatches(service: Service, asker: Asker): Promise<void> {
  const { ask, job, context } = service
  const made = await Promise.all(owners.map(async (owner) => ({ owner, ...(await job(owner)) })))
  const mine = made.filter(({ owner }) => asker.reaches.includes(owner)).map(({ batch }) => batch)
  const ownerOf = async (batch: string) => (await context.batches.readBatch(batch))?.owner
  for (const query of ['kind=all&limit=100', 'kind=all&limit=2', 'limit=2']) {
    // Page by page where that are few: an admin's list is all that the other tests have made.
    if (query === 'kind=all&limit=2' && asker.reaches.length > 1) continue
    const ids = await pages(service, asker, { route: 'list-batches', query })
    if (query.startsWith('kind=all')) expect(ids).toEqual(expect.arrayContaining(mine))
    for (const owner of await Promise.all(ids.map(ownerOf))) expect(asker.reaches).toContain(owner)
  }
  for (const { owner, batch } of made) {
    const { status, text } = await ask(asker, 'list-batches', { query: `?kind=all&limit=1&after=${batch}` })
    const isReached = asker.reaches.includes(owner)
    expect([owner, status]).toEqual([owner, isReached ? 200 : 400])
    if (isReached) continue
    // As one that nobody has: names tell nothing.
    const none = await ask(asker, 'list-batches', { query: '?kind=all&limit=1&after=none-1' })
    expect(text).toBe(none.text.replaceAll('none-1', batch))
  }
}

export async function checkListFiles(service: Service, asker: Asker): Promise<void> {
  const { file, context } = service
  const made = await Promise.all(
    owners.map(async (owner) => ({ owner, id: await file(owner, line(), 'batch') })),
  )
  const mine = made.filter(({ owner }) => asker.reaches.includes(owner)).map(({ id }) => id)
  const ownerOf = async (id: string) => (await context.files.get(id))?.owner
  for (const query of ['limit=10000', 'limit=3', 'order=asc&limit=20&purpose=batch']) {
    const ids = await pages(service, asker, { route: 'list-files', query })
    expect(ids).toEqual(expect.arrayContaining(mine))
    for (const owner of await Promise.all(ids.map(ownerOf))) expect(asker.reaches).toContain(owner)
  }
  // A place in the order of time, be it another's: what stands behind it is the caller's alone.
  for (const { id } of made) {
    const behind = await pages(service, asker, { route: 'list-files', query: 'limit=10000', after: id })
    for (const owner of await Promise.all(behind.map(ownerOf))) expect(asker.reaches).toContain(owner)
  }
}

export function seesOneJob({ params }: Asked, answer: Answer): void {
  expect(answer.json().data.map(({ id }: { id: string }) => id)).toEqual([`${params?.['name']}.fox`])
}

/** Nobody pages from a job of another batch on. */
export async function morePages({ ask, job }: Service, askers: readonly Asker[]): Promise<void> {
  const others = await job('agency')
  for (const asker of askers) {
    const { batch } = await job(asker.key)
    for (const state of ['', '&status=queued']) {
      const query = `?limit=1&after=${idOf(others)}${state}`
      expect((await ask(asker, 'list-jobs', { params: { name: batch }, query })).status).toBe(400)
    }
  }
}

/** Terms may be given to a batch before its first job, under any name but those that are somebody's. */
export async function morePatches({ ask, newName }: Service, askers: readonly Asker[]): Promise<void> {
  const json = { priority: 'low' }
  for (const [index, asker] of askers.filter(({ mayChange }) => mayChange).entries()) {
    const patch = async (name: string): Promise<number> =>
      (await ask(asker, 'patch-batch', { params: { name }, json })).status
    const name = newName(asker.key)
    expect(await patch(name)).toBe(200)
    for (const other of askers) {
      const { status } = await ask(other, 'get-batch', { params: { name } })
      expect([other.name, status]).toEqual([other.name, other.reaches.includes(asker.key) ? 200 : 404])
    }
    expect(await patch('batch_0abcdefgh1')).toBe(404)
    for (const owner of owners) {
      const inbox = inboxName(Date.now() + (index + 1) * 86_400_000, { owner })
      expect([inbox, await patch(inbox)]).toEqual([inbox, owner === asker.key ? 200 : 404])
    }
  }
}

/** The file is its owner's, whoever completes it. */
export async function moreCompletions(service: Service, askers: readonly Asker[]): Promise<void> {
  const { ask, upload, part, context } = service
  for (const asker of askers.filter(({ reaches, mayChange }) => mayChange && reaches.includes('agency'))) {
    const id = await upload('agency')
    const json = { part_ids: [await part(id)] }
    const { file } = (await ask(asker, 'complete-upload', { params: { id }, json })).json()
    expect((await context.files.get(file.id))?.owner).toBe('agency')
  }
}

/** A call that is waited for is a job of its key's own line, and its images lie there. */
export async function checkCall(
  service: Service,
  route: string,
  { asker, others }: Askers,
  json: object,
): Promise<void> {
  const { ask, context, run } = service
  const batch = inboxOf(asker, 'sync')
  const before = new Set((await context.jobs.list({ batch, limit: 100 })).map(({ key }) => key))
  const headers = { 'idempotency-key': 'order-1' }
  const answering = ask(asker, route, { json, headers: route === 'post-edit' ? {} : headers })
  const job = await vi.waitUntil(
    async () => (await context.jobs.list({ batch, limit: 100 })).find(({ key }) => !before.has(key)),
    { timeout: 20_000, interval: 50 },
  )
  for (const place of await run(job)) expect(place.startsWith(`${batch}/`)).toBe(true)
  const answer = await answering
  expect([answer.status, answer.headers['x-darkroom-job']]).toEqual([200, idOf(job)])
  for (const other of others) {
    const { status } = await ask(other, 'get-job', { params: { id: idOf(job) } })
    expect([other.name, status]).toEqual([other.name, other.reaches.includes(asker.key) ? 200 : 404])
  }
}

export async function checkPostEdit(service: Service, asker: Asker, others: readonly Asker[]): Promise<void> {
  const { ask, file } = service
  const edit = async (owner: Owner): Promise<object> => ({
    prompt: 'a fox',
    image: { file_id: await file(owner, png(), 'vision') },
  })
  await checkCall(service, 'post-edit', { asker, others }, await edit(asker.key))
  for (const owner of owners.filter((each) => !asker.reaches.includes(each))) {
    const { status, json } = await ask(asker, 'post-edit', { json: await edit(owner) })
    expect([owner, status, json().error.code]).toEqual([owner, 400, 'input_not_found'])
  }
  const all = owners.filter((each) => asker.reaches.includes(each) && each !== asker.key).slice(0, 1)
  for (const owner of all) await checkCall(service, 'post-edit', { asker, others }, await edit(owner))
}

/** A batch that is paused has no start; of another's nobody is told so much. */
export async function checkEstimate({ ask, job, context }: Service, asker: Asker): Promise<void> {
  for (const owner of owners) {
    const { batch } = await job(owner)
    await pauseBatch(context, batch, 'enough')
    const { status, json } = await ask(asker, 'post-estimate', { json: { prompt: 'a fox', batch } })
    expect(status).toBe(200)
    const isTold = json().estimated_start_at === null
    expect([owner, isTold]).toEqual([owner, asker.reaches.includes(owner)])
  }
}
