import { z } from 'zod'
import { readHostPatterns, type HostPattern } from '../core/destination.ts'

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
