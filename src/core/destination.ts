import ipaddr from 'ipaddr.js'
import { limits } from './limits.ts'

/** A host that an operator named, exactly or by its suffix; without a port it is meant at its scheme's own. */
export type HostPattern = {
  /** Lower case, in punycode, without the dot at its end. */
  readonly name: string
  /** Any host below the name, and not the name itself. */
  readonly isSuffix: boolean
  readonly port: string
}

/** Where outgoing requests may go. Whoever gives us an address must not reach through us what they could not reach. */
export type Destinations = {
  /** Reached by https, and at public addresses only. */
  readonly hosts: 'any' | readonly HostPattern[]
  /** Hosts that the operator answers for: by http too, and at private addresses. */
  readonly trusted: readonly HostPattern[]
}

type Destination =
  | { readonly kind: 'destination'; readonly url: URL; readonly isTrusted: boolean }
  /** `mayBeTrusted`: unless the operator answers for its host. */
  | { readonly kind: 'refused'; readonly why: string; readonly mayBeTrusted?: true }

/**
 * An address that may be asked, or why not, as a half sentence after `the address`. What its host resolves to is for
 * the connection to check, at the moment it is made: `isPublicAddress`.
 */
export function readDestination(address: string, { hosts, trusted }: Destinations): Destination {
  if (address.length > limits.addressCharsMax) return refused(`exceeds ${limits.addressCharsMax} characters`)
  const url = URL.parse(address)
  if (url === null) return refused('cannot be read')
  if (!/^https?:$/.test(url.protocol)) return refused('must begin with https://')
  if (url.username !== '' || url.password !== '') return refused('must not hold a user name or a password')
  if (isAmong(trusted, url)) return { kind: 'destination', url, isTrusted: true }
  if (url.protocol === 'http:') return untrusted('must begin with https://')
  if (hosts !== 'any' && !isAmong(hosts, url)) return refused('is not at a host that this service may ask')
  if (hosts === 'any' && url.port !== '') return untrusted('must not name a port: only 443 may be asked')
  if (!mayBePublic(url)) return untrusted('is not a public one')
  return { kind: 'destination', url, isTrusted: false }
}

/**
 * Whether an IP address, in any notation, belongs to the public internet: neither this machine's, nor a network's own,
 * nor one that is reserved or leads to others through a gateway. IPv4 inside IPv6 is taken for what it maps to.
 */
export function isPublicAddress(text: string): boolean {
  if (!ipaddr.isValid(text)) return false
  const parsed = ipaddr.parse(text)
  const address =
    parsed instanceof ipaddr.IPv6 && parsed.isIPv4MappedAddress() ? parsed.toIPv4Address() : parsed
  if (address.range() !== 'unicast') return false
  return address instanceof ipaddr.IPv6
    ? address.match(ipaddr.IPv6.parseCIDR(globalUnicast))
    : address.toString() !== azurePlatform
}

/** All that is given out for the public internet. Source: IANA, IPv6 global unicast address assignments. */
const globalUnicast = '2000::/3'

/** Looks public, and is Azure's own service on the host of every virtual machine. Source: learn.microsoft.com, "What is IP address 168.63.129.16?". */
const azurePlatform = '168.63.129.16'

type HostPatterns =
  | { readonly kind: 'patterns'; readonly patterns: readonly HostPattern[] }
  | { readonly kind: 'faulty'; readonly entry: string }

/** Reads a list with commas: `images.example.com, *.example.org, hooks.example.net:8443`. */
export function readHostPatterns(text: string): HostPatterns {
  const patterns: HostPattern[] = []
  for (const entry of text.split(',').map((each) => each.trim())) {
    const pattern = entry === '' ? undefined : patternOf(entry)
    if (entry !== '' && pattern === undefined) return { kind: 'faulty', entry }
    if (pattern !== undefined) patterns.push(pattern)
  }
  return { kind: 'patterns', patterns }
}

function patternOf(entry: string): HostPattern | undefined {
  const isSuffix = entry.startsWith('*.')
  const host = isSuffix ? entry.slice(2) : entry
  if (/[/\\?#@*\s]/.test(host)) return undefined
  const url = URL.parse(`https://${host}`)
  if (url === null) return undefined
  const name = hostOf(url)
  return name === '' || (isSuffix && ipaddr.isValid(bare(name)))
    ? undefined
    : { name, isSuffix, port: url.port }
}

function isAmong(patterns: readonly HostPattern[], url: URL): boolean {
  const found = hostOf(url)
  return patterns.some(
    ({ name, isSuffix, port }) =>
      port === url.port && (isSuffix ? found.endsWith(`.${name}`) : found === name),
  )
}

/** A number must be a public address; a name must be one that public name servers may know. */
function mayBePublic(url: URL): boolean {
  const host = bare(hostOf(url))
  return ipaddr.isValid(host) ? isPublicAddress(host) : host.includes('.') && !host.endsWith('.localhost')
}

/** URL writes every spelling of a host in one way, but leaves the dot at its end. */
function hostOf(url: URL): string {
  return url.hostname.replace(/\.$/, '')
}

function bare(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1')
}

function untrusted(why: string): Destination {
  return { kind: 'refused', why, mayBeTrusted: true }
}

function refused(why: string): Destination {
  return { kind: 'refused', why }
}
