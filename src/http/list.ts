import { limits } from '../core/limits.ts'
import { type Reply, replyError } from './reply.ts'

/** OpenAI's list. The ids are left out where there are none. */
export function listBody(
  data: readonly object[],
  { firstId, lastId, hasMore }: Ends & { readonly hasMore: boolean },
): object {
  return {
    object: 'list',
    data,
    ...(firstId === undefined ? {} : { first_id: firstId }),
    ...(lastId === undefined ? {} : { last_id: lastId }),
    has_more: hasMore,
  }
}

type Ends = { readonly firstId: string | undefined; readonly lastId: string | undefined }

export function endsOf(ids: readonly string[]): Ends {
  return { firstId: ids.at(0), lastId: ids.at(-1) }
}

export function noAfter(after: string): Reply {
  const shown = JSON.stringify(after.slice(0, limits.quotedValueCharsMax))
  const message = `after: ${shown} is no entry of this list any more; list again from the start`
  return replyError({ status: 400, param: 'after', code: 'invalid_value', message })
}
