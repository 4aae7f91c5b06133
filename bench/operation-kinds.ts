/** A kind of storage operation, such as `queue receive image-work`. One transaction is one operation. */
export function operationOf(operation: {
  readonly service: string
  readonly method: string
  readonly url: string
  readonly sent: string
  readonly received: string
}): string {
  const { service, method, url, sent, received } = operation
  const [path = '', query = ''] = url.split('?')
  const [, , name = '', ...rest] = path.split('/')
  switch (service) {
    case 'queue':
      if (rest[0] !== 'messages') return `${service} ${method.toLowerCase()} ${name}`
      if (method === 'GET') {
        return received.includes('<QueueMessage>') ? `queue receive ${name}` : emptyPoll
      }
      return `queue ${messageVerbs[method] ?? method} ${name}`
    case 'table': {
      if (name === '$batch') {
        const table = /devstoreaccount1\/(\w+)/.exec(sent)?.[1] ?? ''
        const steps = Object.entries(stepMarks).flatMap(([step, mark]) => (mark.test(sent) ? [step] : []))
        const end = /HTTP\/1\.1 4\d\d/.test(received) ? ' CONFLICT' : ''
        return `table transaction ${table} ${steps.join('+')}${end}`
      }
      const table = name.replace(/\(.*$/, '')
      if (method === 'GET') return `table ${name.includes('PartitionKey=') ? 'read' : 'query'} ${table}`
      return `table ${method.toLowerCase()} ${table}`
    }
    default:
      return query.includes('restype=container')
        ? `${service} ${method.toLowerCase()} container`
        : `${service} ${method.toLowerCase()} ${name}`
  }
}

/** How the rows of a transaction tell what steps of the pipeline share it. */
const stepMarks = {
  intake: /"RowKey":"job:[^"]*","prompt"|"RowKey":"wait:/,
  slot: /"RowKey":"slot:/,
  claim: /"RowKey":"run:/,
  end: /DELETE [^\n]*RowKey='run%3A/i,
  tick: /"RowKey":"tick"/,
  ledger: /"RowKey":"ledger:/,
  flow: /"RowKey":"flow:/,
}

/** A receive that found nothing. */
export const emptyPoll = 'queue poll that found nothing'

const messageVerbs: Readonly<Record<string, string>> = { POST: 'send', PUT: 'update', DELETE: 'delete' }
