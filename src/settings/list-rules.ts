import type { ModelProfile } from '../core/requests/profiles.ts'
import type { Address } from './address.ts'
import type { Fault } from './fields.ts'

/** What an entry of the list says, as far as it can be read; `at` is where it stands: `IMAGE_DEPLOYMENTS[1]`. */
export type Entry = {
  readonly at: string
  readonly name: string | undefined
  readonly address: Address | undefined
  readonly profile: ModelProfile | undefined
  readonly rpm: number | undefined
  readonly quotaGroup: string | undefined
  readonly keySetting: string | undefined
}

/** Faults that no entry has by itself. */
export function faultsBetween(entries: readonly Entry[]): readonly Fault[] {
  return [
    ...repeatedNames(entries),
    ...repeatedAddresses(entries),
    ...dividedGroups(entries),
    ...mistakenGroups(entries),
    ...mistakenNames(entries),
  ]
}

/** The name is the deployment's in the budget, in messages and in the log. */
function repeatedNames(entries: readonly Entry[]): readonly Fault[] {
  return [...Map.groupBy(entries, ({ name }) => name)].flatMap(([name, [first, ...others]]) =>
    name === undefined || first === undefined
      ? []
      : others.map(({ at }) => {
          const wanted = `a name of its own: it is that of ${first.at}`
          return { name: `${at}.name`, found: quoted(name), wanted }
        }),
  )
}

/** Two budgets for one deployment would exceed its limit. */
function repeatedAddresses(entries: readonly Entry[]): readonly Fault[] {
  const faults: Fault[] = []
  const seen = new Map<string, Entry>()
  for (const entry of entries) {
    if (entry.address === undefined) continue
    const { endpoint, deployment } = entry.address
    // Azure's names of deployments are the same in any case of their letters.
    const place = `${endpoint} ${deployment}`.toLowerCase()
    const first = seen.get(place)
    if (first === undefined) seen.set(place, entry)
    else if (first.quotaGroup === undefined || first.quotaGroup !== entry.quotaGroup) {
      const wanted = `another deployment, or one quota_group for both: it is that of ${first.at}, and has one limit`
      faults.push({ name: entry.at, found: `deployment ${quoted(deployment)} of ${endpoint}`, wanted })
    }
  }
  return faults
}

/** What shares a quota is paced as one. */
function dividedGroups(entries: readonly Entry[]): readonly Fault[] {
  return [...Map.groupBy(entries, ({ quotaGroup }) => quotaGroup)].flatMap(([group, members]) =>
    group === undefined
      ? []
      : [
          ...unequal(group, 'model', members, ({ profile }) => profile?.model),
          ...unequal(group, 'rpm', members, ({ rpm }) => rpm),
        ],
  )
}

function unequal(
  group: string,
  field: string,
  members: readonly Entry[],
  valueOf: (entry: Entry) => string | number | undefined,
): readonly Fault[] {
  const known = members.filter((entry) => valueOf(entry) !== undefined)
  return known.slice(1).flatMap((entry) => {
    const [first = entry] = known
    if (valueOf(entry) === valueOf(first)) return []
    const wanted = `${JSON.stringify(valueOf(first))}, as ${first.at} of the same quota_group ${quoted(group)} has it`
    return [{ name: `${entry.at}.${field}`, found: JSON.stringify(valueOf(entry)), wanted }]
  })
}

/** A deployment without a group is a quota of its own, under its name. */
function mistakenGroups(entries: readonly Entry[]): readonly Fault[] {
  return entries.flatMap(({ at, quotaGroup }) => {
    const other = entries.find((entry) => entry.name === quotaGroup && entry.quotaGroup !== quotaGroup)
    if (quotaGroup === undefined || other === undefined) return []
    const wanted = `another name, or ${other.at} in the group: it is that of ${other.at}`
    return [{ name: `${at}.quota_group`, found: quoted(quotaGroup), wanted }]
  })
}

/** A job names its model, or a deployment of it: no name may mean two. */
function mistakenNames(entries: readonly Entry[]): readonly Fault[] {
  return entries.flatMap(({ at, name, profile }) => {
    const other = entries.find((entry) => entry.profile?.model === name && entry.profile !== profile)
    if (name === undefined || profile === undefined || other === undefined) return []
    const wanted = `another name: it is the model of ${other.at}, and this one serves ${profile.model}`
    return [{ name: `${at}.name`, found: quoted(name), wanted }]
  })
}

function quoted(text: string): string {
  return JSON.stringify(text)
}
