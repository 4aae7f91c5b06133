import { settingDefaults } from './defaults.ts'
import { httpsUrl, textOf, type Fault } from './fields.ts'

/** Where a deployment is, and in which version it is spoken to. */
export type Address = {
  /** Scheme and host, without a path. */
  readonly endpoint: string
  /** Azure's name of it. */
  readonly deployment: string
  readonly apiVersion: string
}

/** An address as the settings say it: all at once as the Target URI, or in parts. */
type SaidAddress = {
  readonly target: Target | undefined
  readonly endpoint: string | undefined
  readonly deployment: string | undefined
  readonly apiVersion: string | undefined
}

type Target = Pick<Address, 'endpoint' | 'deployment'> & { readonly apiVersion: string | undefined }

/** Undefined where no endpoint is said, or no deployment. */
export function addressOf(said: SaidAddress, defaultDeployment: string | undefined): Address | undefined {
  const { target } = said
  const endpoint = target?.endpoint ?? said.endpoint
  const deployment = target?.deployment ?? said.deployment ?? defaultDeployment
  if (endpoint === undefined || deployment === undefined) return undefined
  const apiVersion = target?.apiVersion ?? said.apiVersion ?? settingDefaults.AZURE_OPENAI_API_VERSION
  return { endpoint, deployment, apiVersion }
}

/** What the settings call the parts of an address. */
type AddressNames = Readonly<Record<keyof SaidAddress, string>>

/** The Target URI says it all: what is said beside it must agree. */
export function contradictions(said: SaidAddress, names: AddressNames): readonly Fault[] {
  const { target } = said
  if (target === undefined) return []
  return (['endpoint', 'deployment', 'apiVersion'] as const).flatMap((part) => {
    const found = said[part]
    const wanted = target[part]
    return found === undefined || wanted === undefined || found === wanted
      ? []
      : [{ name: names[part], found, wanted: `nothing, or ${wanted} as ${names.target} has it` }]
  })
}

export const targetUriForm =
  'the Target URI as the portal shows it: https://NAME.cognitiveservices.azure.com/openai/deployments/DEPLOYMENT/images/generations?api-version=VERSION'

export const targetUriField = httpsUrl
  .transform(parseTargetUri)
  .refine((target) => target !== undefined, targetUriForm)

export const endpointField = httpsUrl.transform((url) => new URL(url).origin)

/** A deployment's name, Azure's or ours: a part of paths and table keys. */
export const nameField = textOf(/^[A-Za-z0-9._-]{1,64}$/, 'a name: 1 to 64 of A-Z a-z 0-9 . _ -')

const apiVersionPattern = /^\d{4}-\d\d-\d\d(-preview)?$/

export const apiVersionField = textOf(apiVersionPattern, 'a version such as 2025-04-01-preview')

function parseTargetUri(text: string): Target | undefined {
  const url = new URL(text)
  const deployment = /^\/openai\/deployments\/([A-Za-z0-9._-]{1,64})\/images\/(generations|edits)\/?$/.exec(
    url.pathname,
  )?.[1]
  const apiVersion = url.searchParams.get('api-version') ?? undefined
  const isReadable =
    deployment !== undefined && (apiVersion === undefined || apiVersionPattern.test(apiVersion))
  return isReadable ? { endpoint: url.origin, deployment, apiVersion } : undefined
}
