/** What is touched of the store behind Azurite's queues: `LokiQueueMetadataStore` of azurite 3.37.0. */
export type MessageStore = {
  readonly db: { getCollection(name: string): Collection }
  init(): Promise<void>
  insertMessage(message: StoredMessage, context: unknown): Promise<void>
  clearExpiredMessages(accountName: string, queueName: string, context: unknown): Promise<void>
}

type StoredMessage = {
  readonly accountName: string
  readonly queueName: string
  /** A string where it was read from a file; Azurite never takes such a message to be expired. */
  readonly expirationTime: Date | string
}

/** A collection of LokiJS 1.5.12, which changes one document or a list of them. */
type Collection = {
  find(query: object): readonly StoredMessage[]
  update(changed: object | readonly object[]): unknown
  remove(gone: object | readonly object[]): unknown
}

/**
 * Makes Azurite's queues quick where many messages wait; what they answer stays the same. As they come, every receive,
 * delete and update of a message sorts all messages anew, once for each of four indices: each of them first removes
 * the expired ones, mostly an empty list, and LokiJS builds its indices anew after any list. With 5,000 messages
 * waiting a delete took 15 ms, and with this 0.7 ms.
 */
export function quickenMessages(store: MessageStore): void {
  const init = store.init.bind(store)
  const insertMessage = store.insertMessage.bind(store)
  const clearExpiredMessages = store.clearExpiredMessages.bind(store)
  const messages = () => store.db.getCollection('$MESSAGES_COLLECTION$')
  /** No message of the queue expires before this. */
  const firstExpiry = new Map<string, number>()

  store.init = async () => {
    await init()
    changeOneByOne(messages())
  }

  store.insertMessage = async (message, context) => {
    await insertMessage(message, context)
    const name = nameOf(message)
    const known = firstExpiry.get(name)
    if (known !== undefined) firstExpiry.set(name, Math.min(known, expiryOf(message)))
  }

  store.clearExpiredMessages = async (accountName, queueName, context) => {
    const queue = { accountName, queueName }
    const name = nameOf(queue)
    if (Date.now() < (firstExpiry.get(name) ?? 0)) return
    // Nothing is awaited before the sweep: its callers look at the messages without waiting for it.
    const cleared = clearExpiredMessages(accountName, queueName, context)
    const left = messages().find(queue)
    firstExpiry.set(
      name,
      left.reduce((first, message) => Math.min(first, expiryOf(message)), Infinity),
    )
    await cleared
  }
}

/** A document that is changed alone is moved within the indices; a list has them built anew. */
function changeOneByOne(collection: Collection): void {
  const update = collection.update.bind(collection)
  const remove = collection.remove.bind(collection)
  collection.update = (changed) => each(changed, update)
  collection.remove = (gone) => each(gone, remove)
}

function each(documents: object | readonly object[], act: (document: object) => unknown): void {
  if (!Array.isArray(documents)) act(documents)
  else for (const document of documents) act(document)
}

function nameOf({ accountName, queueName }: Pick<StoredMessage, 'accountName' | 'queueName'>): string {
  return `${accountName}/${queueName}`
}

function expiryOf({ expirationTime }: StoredMessage): number {
  return expirationTime instanceof Date ? expirationTime.getTime() : Infinity
}
