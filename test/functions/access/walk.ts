import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { routes } from '../../../src/functions/route.ts'
import { entries, type Entry } from './entries.ts'
import { owners, startService, type Asked, type Asker, type Owner, type Service } from './service.ts'

/** Somebody to whom the service says nothing, and what it says instead. */
export type Stranger = Pick<Asker, 'name' | 'headers'> & {
  readonly status: number
  readonly code: string
  /** Whether it is told what is for everybody. */
  readonly isLetIn: boolean
}

/** Walks the routes that are registered, and asks of each what its entry says, as each caller. */
export function walk({
  isKeyed,
  askers,
  strangers,
}: {
  readonly isKeyed: boolean
  readonly askers: readonly Asker[]
  readonly strangers: readonly Stranger[]
}): () => Service {
  let service: Service
  beforeAll(async () => (service = await startService({ isKeyed })), 60_000)
  afterAll(async () => service.stop())

  test('every route has an entry, and every entry a route', () => {
    expect(routes.map(({ name }) => name).toSorted()).toEqual(Object.keys(entries).toSorted())
  })

  describe.each(Object.entries(entries))('%s', (name, entry) => {
    const isReading = (): boolean => routes.find((each) => each.name === name)?.method === 'GET'

    test('tells nothing, and does nothing, to whom it has nothing to tell', async () => {
      const make = async (): Promise<readonly Made[]> => madeFor(service, entry)
      await unchanged(service, make, async (made) => {
        for (const stranger of strangers) {
          const answer = await service.ask(stranger, name, made[0]?.asked)
          if (entry.kind === 'everybody' && stranger.isLetIn) {
            expect([stranger.name, answer.status]).toEqual([stranger.name, 200])
            continue
          }
          expect([stranger.name, answer.status]).toEqual([stranger.name, stranger.status])
          expect(answer.json().error.code).toBe(stranger.code)
        }
        if (entry.kind === 'everybody') return
        for (const asker of askers) {
          const isRefused = !asker.mayChange && !isReading()
          await Promise.all(
            made.map(async (each) => {
              if (isRefused) await isReadOnly(asker, each)
              else if (entry.kind === 'thing' && !asker.reaches.includes(each.owner)) {
                await isHidden(asker, each)
              }
            }),
          )
        }
      })
    })

    async function isReadOnly(asker: Asker, { owner, asked }: Made): Promise<void> {
      const answer = await service.ask(asker, name, asked)
      expect([asker.name, owner, answer.status]).toEqual([asker.name, owner, 403])
      expect(answer.json().error.code).toBe('permission_denied')
    }

    async function isHidden(asker: Asker, { owner, asked }: Made): Promise<void> {
      const answer = await service.ask(asker, name, asked)
      expect([asker.name, owner, answer.status]).toEqual([asker.name, owner, 404])
      // As of one that nobody has: names tell nothing.
      const none = await service.ask(asker, ...noneLike(name, asked))
      expect(answer.text).toBe(none.text.replaceAll(noneName, nameIn(asked)))
      if (!isReading()) return
      const head = await service.ask(asker, name, { ...asked, method: 'HEAD' })
      expect([head.status, head.text]).toEqual([404, ''])
    }

    if (entry.kind === 'everybody') {
      test('tells everybody the same', async () => {
        const answers = await Promise.all(askers.map(async (asker) => service.ask(asker, name)))
        expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1)
        expect(answers[0]?.text).not.toMatch(/studio|agency|wall|ops|queue/)
      })
    }

    if (entry.kind === 'thing') {
      test('does what it is for, for whose it is', async () => {
        const able = askers.filter(({ mayChange }) => mayChange || isReading())
        const cases = able.flatMap((asker) => asker.reaches.map((owner) => ({ asker, owner })))
        await Promise.all(
          cases.map(async ({ asker, owner }) => {
            const asked = await entry.make(service, owner)
            const answer = await service.ask(asker, name, asked)
            expect([asker.name, owner, answer.status]).toEqual([asker.name, owner, entry.reached])
            entry.see?.(asked, answer)
          }),
        )
        await entry.more?.(service, askers)
      })
    }

    if (entry.kind === 'own') {
      test('does for each caller what is its own', async () => {
        const able = askers.filter(({ mayChange }) => mayChange || isReading())
        const checks = able.map(async (asker) =>
          entry.check(service, asker, askers).catch((cause: unknown) => {
            throw new Error(`for ${asker.name}`, { cause })
          }),
        )
        await Promise.all(checks)
      })
    }
  })

  return () => service
}

type Made = { readonly owner: Owner; readonly asked: Asked }

/** A thing of each owner, or what is asked whoever asks. */
async function madeFor(service: Service, entry: Entry): Promise<readonly Made[]> {
  if (entry.kind !== 'thing') return [{ owner: null, asked: entry.kind === 'own' ? entry.asked : {} }]
  return Promise.all(owners.map(async (owner) => ({ owner, asked: await entry.make(service, owner) })))
}

const noneName = 'none-0'

/** What tells the thing from others in what its path names. */
function nameIn({ params = {} }: Asked): string {
  return /^[a-z]+[-_]\w+/.exec(params['id'] ?? params['name'] ?? '')?.[0] ?? ''
}

/** The same of a thing that there is not. Terms may be given to a name that nobody has: there it is looked for. */
function noneLike(route: string, asked: Asked): [route: string, asked: Asked] {
  const entries = Object.entries(asked.params ?? {})
  const params = Object.fromEntries(
    entries.map(([param, value]) => [param, value.replace(nameIn(asked), noneName)]),
  )
  return route === 'patch-batch' ? ['get-batch', { params }] : [route, { ...asked, params }]
}

/** Tries of what a tick under way, for what earlier tests have made, may come between. */
const quietTriesMax = 3

/** That nothing is stored by what is done with what was made for it. */
async function unchanged<Made>(
  service: Service,
  make: () => Promise<Made>,
  act: (made: Made) => Promise<void>,
): Promise<void> {
  let changed: readonly string[] = []
  for (let tries = 0; tries < quietTriesMax; tries += 1) {
    // Anew: what was changed once may not change again.
    const made = await make()
    const before = await quiet(service)
    await act(made)
    const after = new Set(await service.stored())
    const changes = [...new Set([...before, ...after])]
    changed = changes.filter((each) => before.has(each) !== after.has(each))
    if (changed.length === 0) return
  }
  expect(changed).toEqual([])
}

/** What is stored, once jobs that were made have their slots. */
async function quiet(service: Service): Promise<ReadonlySet<string>> {
  return vi.waitFor(
    async () => {
      const [before, now] = [await service.stored(), await service.stored()]
      expect(now).toEqual(before)
      return new Set(now)
    },
    { timeout: 10_000, interval: 50 },
  )
}
