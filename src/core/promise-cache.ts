/** When an entry is asked for, and how old it may be. Without: entries stay until they have to make room. */
export type Freshness = { readonly now: number; readonly ageMaxMs: number }

/** What was read, by key, so that all who ask for the same at about the same time share one reading. */
export type PromiseCache<Value> = {
  /** What is known; undefined where nothing is, or it is too old. */
  readonly known: (key: string, fresh?: Freshness) => Promise<Value> | undefined
  /**
   * What is known, else what `read` answers. It is known as soon as it is asked for, so that those who come while it is
   * read wait for it too. A reading that fails is forgotten: whoever comes next reads again.
   */
  readonly get: (key: string, read: () => Promise<Value>, fresh?: Freshness) => Promise<Value>
  /** What somebody knows otherwise, as of now. */
  readonly put: (key: string, value: Value, now?: number) => void
}

const always: Freshness = { now: 0, ageMaxMs: Infinity }

/** The entry that was read first makes room for one too many. */
export function promiseCache<Value>({ entriesMax }: { readonly entriesMax: number }): PromiseCache<Value> {
  const entries = new Map<string, { readonly value: Promise<Value>; readonly readAt: number }>()

  function known(key: string, { now, ageMaxMs }: Freshness = always): Promise<Value> | undefined {
    const entry = entries.get(key)
    return entry !== undefined && now - entry.readAt < ageMaxMs ? entry.value : undefined
  }

  function keep(key: string, value: Promise<Value>, readAt: number): void {
    entries.delete(key)
    if (entries.size >= entriesMax) entries.delete(entries.keys().next().value ?? '')
    entries.set(key, { value, readAt })
  }

  return {
    known,
    async get(key, read, fresh = always) {
      const there = known(key, fresh)
      if (there !== undefined) return there
      const value = read()
      keep(key, value, fresh.now)
      try {
        return await value
      } catch (error) {
        if (entries.get(key)?.value === value) entries.delete(key)
        throw error
      }
    },
    put(key, value, now = 0) {
      keep(key, Promise.resolve(value), now)
    },
  }
}
