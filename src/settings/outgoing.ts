import { z } from 'zod'
import { readHostPatterns, type HostPattern } from '../core/destination.ts'
import { httpsUrl, type Environment } from './fields.ts'

/** Hosts that outgoing requests may, or may also, go to. */
export const hostsField = z.string().transform((text, context): readonly HostPattern[] => {
  const read = readHostPatterns(text)
  if (read.kind === 'patterns') return read.patterns
  const message = 'hosts with commas: images.example.com, *.example.org (what lies below it), host:8443'
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

/** Source: the Standard Webhooks specification, which wants secrets of 24 to 64 bytes. */
const secretPattern = /^whsec_(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

export const secretsField = z.string().transform((text, context): readonly string[] => {
  const secrets = text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '')
  if (secrets.every((each) => secretPattern.test(each))) return secrets
  const message = 'secrets with commas, the newest first: whsec_ and 24 to 64 bytes in base64, each'
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

export const publicUrlField = httpsUrl.transform((url) => new URL(url).origin)

/** What Azure itself calls the app; a custom domain must be said. */
export function hostnameUrl({ WEBSITE_HOSTNAME: name = '' }: Environment): string | null {
  if (!/^[A-Za-z0-9.-]+(:\d+)?$/.test(name)) return null
  return /^(?:localhost|127\.)/.test(name) ? `http://${name}` : `https://${name}`
}
