import type { Evaluated } from './evaluated.ts'

export type Resource = Evaluated['predictedResources'][number]

/** Notes what is not as expected. */
export type Wanted = (what: string, found: unknown, expected: unknown) => void

export function all(resources: readonly Resource[], type: string): readonly Resource[] {
  return resources.filter((resource) => resource.type === type)
}

export function only(resources: readonly Resource[], type: string): Resource {
  const [first, ...more] = all(resources, type)
  if (first === undefined || more.length > 0) throw new Error(`there is not one ${type}`)
  return first
}

export function at(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<any>((inner, name) => inner?.[name], value)
}

export function lastNames(resources: readonly Resource[]): readonly string[] {
  return resources.map(({ name }) => name.split('/').at(-1)!).toSorted()
}
