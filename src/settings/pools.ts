import type { ModelProfile } from '../core/requests/profiles.ts'
import type { Address } from './address.ts'

/** Deployments that serve one model. The first pool takes the jobs that name no model. */
export type PoolSettings = {
  /** What waits in storage waits under this name. */
  readonly name: string
  readonly profile: ModelProfile
  readonly quotas: readonly QuotaSettings[]
}

/** Requests a minute that Azure counts together: one deployment's, or those of several that share them. */
export type QuotaSettings = {
  readonly quota: string
  readonly rpm: number
  readonly deployments: readonly DeploymentSettings[]
}

export type DeploymentSettings = Address & {
  /** Ours: no two deployments share it. */
  readonly name: string
  /** Undefined: Entra ID through `DefaultAzureCredential`. */
  readonly apiKey: string | undefined
  /** A user-assigned identity, where storage names one. */
  readonly clientId: string | undefined
}

/** A deployment with the quota and the model that the settings give it. */
export type ConfiguredDeployment = {
  readonly deployment: DeploymentSettings
  readonly profile: ModelProfile
  readonly quota: string
  readonly rpm: number
}

/** In the order of the settings: the first deployment's model is that of the default pool. */
export function poolsFrom(configured: readonly ConfiguredDeployment[]): readonly PoolSettings[] {
  const byProfile = Map.groupBy(configured, ({ profile }) => profile)
  return [...byProfile].map(([profile, members], index) => ({
    name: index === 0 ? defaultPool : profile.model,
    profile,
    quotas: quotasFrom(members),
  }))
}

/** Not the model's name: what waits must outlive the model. */
const defaultPool = 'default'

function quotasFrom(members: readonly ConfiguredDeployment[]): readonly QuotaSettings[] {
  return [...Map.groupBy(members, ({ quota }) => quota)].map(([quota, sharing]) => ({
    quota,
    // They are all the same; of two that were not, the lower would be the safe one.
    rpm: Math.min(...sharing.map(({ rpm }) => rpm)),
    deployments: sharing.map(({ deployment }) => deployment),
  }))
}
