import { limits } from '../core/limits.ts'
import { type Reply, replyError } from './reply.ts'

export function listBody(data: readonly object[], ids: readonly string[], hasMore: boolean): object {
  return {
    object: 'list',
    data,
    ...(ids.length > 0 ? { first_id: ids[0], last_id: ids.at(-1) } : {}),
    has_more: hasMore,
  }
}

export function noAfter(after: string): Reply {
  const shown = JSON.stringify(after.slice(0, limits.quotedValueCharsMax))
  const message = `after: ${shown} is no entry of this list any more; list again from the start`
  return replyError({ status: 400, param: 'after', code: 'invalid_value', message })
}
