import { expect } from 'vitest'
import {
  checkCall,
  checkEstimate,
  checkListBatches,
  checkListFiles,
  checkPostBatch,
  checkPostEdit,
  checkPostJob,
  belongsTo,
  form,
  idOf,
  line,
  moreCompletions,
  morePages,
  morePatches,
  seesOneJob,
  uploadFacts,
} from './checks.ts'
import type { Asked, Answer, Asker, Owner, Service } from './service.ts'

/**
 * What a route has to do with whose things are whose.
 *
 * `everybody`: it wants no key. `thing`: its path names something that belongs to somebody. `own`: it makes, lists or
 * tells what is the caller's; `asked` is what those may not ask who have no key, or one that only reads.
 */
export type Entry =
  | { readonly kind: 'everybody' }
  | {
      readonly kind: 'thing'
      /** Made anew for each who may reach it. */
      readonly make: (service: Service, owner: Owner) => Promise<Asked>
      readonly reached: number
      readonly see?: (asked: Asked, answer: Answer) => void
      readonly more?: (service: Service, askers: readonly Asker[]) => Promise<void>
    }
  | {
      readonly kind: 'own'
      readonly asked: Asked
      readonly check: (service: Service, asker: Asker, others: readonly Asker[]) => Promise<void>
    }

const makeBatch = async ({ job }: Service, owner: Owner): Promise<Asked> => ({
  params: { name: (await job(owner)).batch },
})

const makeDoneBatch = async ({ doneJob }: Service, owner: Owner): Promise<Asked> => ({
  params: { name: (await doneJob(owner)).batch },
})

const makeFile = async ({ file }: Service, owner: Owner): Promise<Asked> => ({
  params: { id: await file(owner, line(), 'batch') },
})

const decided = (json: object): Extract<Entry, { kind: 'thing' }> => ({
  kind: 'thing',
  make: async (service, owner) => ({ ...(await makeBatch(service, owner)), json }),
  reached: 200,
  see: ({ params }, answer) => expect(answer.json().id).toBe(params?.['name']),
})

/** What every route that is registered has. */
export const entries: Readonly<Record<string, Entry>> = {
  'get-home': { kind: 'everybody' },
  'get-health': { kind: 'everybody' },

  'post-job': { kind: 'own', asked: { json: { prompt: 'a fox' } }, check: checkPostJob },
  'get-job': {
    kind: 'thing',
    make: async ({ job }, owner) => ({ params: { id: idOf(await job(owner)) } }),
    reached: 200,
    see: ({ params }, answer) => expect(answer.json().id).toBe(params?.['id']),
  },
  'cancel-job': {
    kind: 'thing',
    make: async ({ job }, owner) => ({ params: { id: idOf(await job(owner)) }, json: {} }),
    reached: 200,
    see: (_, answer) => expect(answer.json().status).toBe('cancelled'),
  },
  'get-image': {
    kind: 'thing',
    make: async ({ doneJob }, owner) => ({ params: { id: idOf(await doneJob(owner)), k: '0' } }),
    reached: 200,
  },

  'post-batch': {
    kind: 'own',
    asked: { json: { input_file_id: 'file-1', endpoint: '/v1/images/generations' } },
    check: checkPostBatch,
  },
  'list-batches': { kind: 'own', asked: {}, check: checkListBatches },
  'get-batch': {
    kind: 'thing',
    make: makeBatch,
    reached: 200,
    see: ({ params }, answer) => expect(answer.json().id).toBe(params?.['name']),
  },
  'list-jobs': { kind: 'thing', make: makeBatch, reached: 200, see: seesOneJob, more: morePages },
  'get-results': {
    kind: 'thing',
    make: makeDoneBatch,
    reached: 200,
    see: (_, { text }) => expect(text.trim().split('\n')).toHaveLength(1),
  },
  'get-events': {
    kind: 'thing',
    make: makeDoneBatch,
    reached: 200,
    see: ({ params }, { text }) => expect(text).toContain(`"id":"${params?.['name']}.fox"`),
  },
  'patch-batch': { ...decided({ priority: 'low' }), more: morePatches },
  'pause-batch': decided({ reason: 'enough' }),
  'resume-batch': decided({ reason: 'on' }),
  'cancel-batch': decided({ reason: 'enough' }),
  'retry-batch': {
    kind: 'thing',
    make: async ({ failedJob }, owner) => ({ params: { name: (await failedJob(owner)).batch }, json: {} }),
    reached: 200,
    see: (_, answer) => expect(answer.json().retried).toBe(1),
  },

  'post-file': {
    kind: 'own',
    asked: { form: form({ purpose: 'batch' }, 'file') },
    check: async (service, asker, others) =>
      belongsTo(service, { asker, others }, async () => {
        const made = await service.ask(asker, 'post-file', { form: form({ purpose: 'batch' }, 'file') })
        return ['get-file', { params: { id: made.json().id } }]
      }),
  },
  'list-files': { kind: 'own', asked: {}, check: checkListFiles },
  'get-file': {
    kind: 'thing',
    make: makeFile,
    reached: 200,
    see: ({ params }, answer) => expect(answer.json().id).toBe(params?.['id']),
  },
  'get-file-content': {
    kind: 'thing',
    make: makeFile,
    reached: 200,
    see: (_, { text }) => expect(text).toBe(line()),
  },
  'delete-file': {
    kind: 'thing',
    make: makeFile,
    reached: 200,
    see: (_, answer) => expect(answer.json().deleted).toBe(true),
  },

  'post-upload': {
    kind: 'own',
    asked: { json: uploadFacts() },
    check: async (service, asker, others) =>
      belongsTo(service, { asker, others }, async () => {
        const made = await service.ask(asker, 'post-upload', { json: uploadFacts() })
        return ['cancel-upload', { params: { id: made.json().id }, json: {} }]
      }),
  },
  'post-upload-part': {
    kind: 'thing',
    make: async ({ upload }, owner) => ({ params: { id: await upload(owner) }, form: form({}, 'data') }),
    reached: 200,
  },
  'complete-upload': {
    kind: 'thing',
    make: async ({ upload, part }, owner) => {
      const id = await upload(owner)
      return { params: { id }, json: { part_ids: [await part(id)] } }
    },
    reached: 200,
    see: (_, answer) => expect(answer.json().status).toBe('completed'),
    more: moreCompletions,
  },
  'cancel-upload': {
    kind: 'thing',
    make: async ({ upload }, owner) => ({ params: { id: await upload(owner) }, json: {} }),
    reached: 200,
    see: (_, answer) => expect(answer.json().status).toBe('cancelled'),
  },

  'post-generation': {
    kind: 'own',
    asked: { json: { prompt: 'a fox' } },
    check: async (service, asker, others) =>
      checkCall(service, 'post-generation', { asker, others }, { prompt: 'a fox' }),
  },
  'post-edit': {
    kind: 'own',
    asked: { json: { prompt: 'a fox', image: 'file-1' } },
    check: checkPostEdit,
  },
  'post-estimate': { kind: 'own', asked: { json: { prompt: 'a fox' } }, check: checkEstimate },
  'get-budget': {
    kind: 'own',
    asked: {},
    async check({ ask }, asker) {
      const { status, text } = await ask(asker, 'get-budget')
      expect(status).toBe(200)
      // The pace is everybody's; whose batches use it is not.
      expect(text).not.toMatch(/studio|agency|wall|ops|queue/)
    },
  },
}
