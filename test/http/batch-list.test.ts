import functions from '@azure/functions'
import { expect, test } from 'vitest'
import { localCaller } from '../../src/core/caller.ts'
import { getBatches } from '../../src/http/submitted-batches.ts'
import { newWorld, roomIn } from '../support/room.ts'

test.each(['a/b', 'a#b', 'a?b', 'a\\b', '../b', 'ä'])(
  'an `after` like %s, which no table key may have, is told as the fault that it is',
  async (after) => {
    const room = roomIn(newWorld())
    const jobs = { ...room.jobs, readBatch: async () => Promise.reject(new Error('OutOfRangeInput')) }
    const url = `https://darkroom.example.com/v1/batches?after=${encodeURIComponent(after)}`
    const request = new functions.HttpRequest({ url, method: 'GET' })
    const answer = await getBatches({ request, room: { ...room, jobs }, id: 'r', caller: localCaller })
    expect(answer.status).toBe(400)
    expect(answer.jsonBody).toMatchObject({ error: { param: 'after', code: 'invalid_value' } })
  },
)
