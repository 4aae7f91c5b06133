import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { takeMessage } from '../../../src/pipeline/intake/intake.ts'
import { owners, withKeys } from './service.ts'
import { walk } from './walk.ts'

const unknown = { status: 401, code: 'invalid_api_key', isLetIn: true }

const service = walk({
  isKeyed: true,
  askers: withKeys,
  strangers: [
    { name: 'nobody', headers: {}, ...unknown },
    { name: 'a wrong key', headers: { 'api-key': 'dk_studi' }, ...unknown },
    {
      name: 'a hash',
      headers: { authorization: `Bearer ${createHash('sha256').update('dk_ops').digest('hex')}` },
      ...unknown,
    },
  ],
})

test('what comes by the queue goes to no batch of a key that is no admin’s', async () => {
  const { context, job, newName } = service()
  for (const owner of owners) {
    const { batch } = await job(owner)
    const text = JSON.stringify({ prompt: 'a wolf', batch, custom_id: 'wolf' })
    const taken = await takeMessage(context, { text, messageId: newName(null), insertedAt: undefined })
    const isTaken = owner === null || owner === 'ops'
    expect([owner, taken.job.batch === batch, taken.fault?.code]).toEqual([
      owner,
      isTaken,
      isTaken ? undefined : 'permission_denied',
    ])
  }
})
