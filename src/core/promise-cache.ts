/** How old a kept answer may be: younger than `maxAgeMs` at `now`, which is in epoch milliseconds. */
export type Age = { readonly now: number; readonly maxAgeMs: number }

/** For answers that stay right. */
const ageless: Age = { now: 0, maxAgeMs: Infinity }

/**
 * Answers that cost a read, kept by name. An answer is kept as soon as it is asked for: calls come by the dozen, and
 * one of them is enough to ask. An answer that fails is forgotten, so the next call asks again.
 */
export type PromiseCache<T> = {
  readonly size: number
  /** The kept answer, when it is young enough; otherwise `ask` is called, and its answer kept. */
  get(key: string, ask: () => Promise<T>, age?: Age): Promise<T>
  /** The kept answer, when it is young enough. */
  find(key: string, age?: Age): Promise<T> | undefined
  /** Keeps an answer, also in the place of an older one. `at`: epoch milliseconds. */
  keep(key: string, answer: Promise<T>, at?: number): Promise<T>
}

/** A cache of `entriesMax` answers; of more, the one that was not used for longest is forgotten. */
export function promiseCache<T>({ entriesMax }: { readonly entriesMax: number }): PromiseCache<T> {
  // In the order of use: a map holds its keys in the order in which they were set.
  const entries = new Map<string, { readonly answer: Promise<T>; readonly at: number }>()

  function find(key: string, { now, maxAgeMs }: Age = ageless): Promise<T> | undefined {
    const entry = entries.get(key)
    if (entry === undefined || now - entry.at >= maxAgeMs) return undefined
    entries.delete(key)
    entries.set(key, entry)
    return entry.answer
  }

  function keep(key: string, answer: Promise<T>, at = 0): Promise<T> {
    const entry = { answer, at }
    entries.delete(key)
    entries.set(key, entry)
    for (const oldest of entries.keys()) {
      if (entries.size <= entriesMax) break
      entries.delete(oldest)
    }
    answer.catch(() => {
      // A later answer may stand there by now.
      if (entries.get(key)?.answer === answer) entries.delete(key)
    })
    return answer
  }

  return {
    get size() {
      return entries.size
    },
    find,
    keep,
    get: (key, ask, age = ageless) => find(key, age) ?? keep(key, ask(), age.now),
  }
}
