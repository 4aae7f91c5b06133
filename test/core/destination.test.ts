import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  isPublicAddress,
  readDestination,
  readHostPatterns,
  type Destinations,
  type HostPattern,
} from '../../src/core/destination.ts'

function patterns(text: string): readonly HostPattern[] {
  const read = readHostPatterns(text)
  if (read.kind === 'faulty') throw new Error(`faulty: ${read.entry}`)
  return read.patterns
}

const anyPublic: Destinations = { hosts: 'any', trusted: [] }

function why(address: string, destinations = anyPublic): string | undefined {
  const read = readDestination(address, destinations)
  return read.kind === 'refused' ? read.why : undefined
}

/** First address, last address. Source: IANA's special-purpose address registries. */
const closed4 = [
  ['0.0.0.0', '0.255.255.255'],
  ['10.0.0.0', '10.255.255.255'],
  ['100.64.0.0', '100.127.255.255'],
  ['127.0.0.0', '127.255.255.255'],
  ['168.63.129.16', '168.63.129.16'],
  ['169.254.0.0', '169.254.255.255'],
  ['172.16.0.0', '172.31.255.255'],
  ['192.0.0.0', '192.0.0.255'],
  ['192.0.2.0', '192.0.2.255'],
  ['192.88.99.0', '192.88.99.255'],
  ['192.168.0.0', '192.168.255.255'],
  ['198.18.0.0', '198.19.255.255'],
  ['198.51.100.0', '198.51.100.255'],
  ['203.0.113.0', '203.0.113.255'],
  ['224.0.0.0', '255.255.255.255'],
] as const

const numberOf = (dotted: string): number => dotted.split('.').reduce((sum, part) => sum * 256 + +part, 0)
const octets = (value: number): number[] => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255)

const closedNumber = fc
  .constantFrom(...closed4)
  .chain(([first, last]) => fc.integer({ min: numberOf(first), max: numberOf(last) }))

/** Every way in which URLs let an IPv4 address be written. */
const spellings: readonly ((value: number) => string)[] = [
  (value) => octets(value).join('.'),
  (value) => `${octets(value).join('.')}.`,
  (value) => String(value),
  (value) => `0x${value.toString(16)}`,
  (value) => `0X${value.toString(16).toUpperCase()}`,
  (value) => `0${value.toString(8)}`,
  (value) =>
    octets(value)
      .map((each) => `0x${each.toString(16)}`)
      .join('.'),
  (value) =>
    octets(value)
      .map((each) => `0${each.toString(8)}`)
      .join('.'),
  (value) => `${octets(value)[0]}.${value & 0xff_ff_ff}`,
  (value) => `${octets(value)[0]}.${octets(value)[1]}.${value & 0xff_ff}`,
  // Full width digits and ideographic stops, which host names are folded from.
  (value) =>
    octets(value)
      .join('。')
      .replaceAll(/\d/g, (digit) => String.fromCodePoint(0xff10 + +digit)),
  (value) =>
    octets(value)
      .join('.')
      .replaceAll(/./g, (each) => `%${each.charCodeAt(0).toString(16)}`),
  (value) => `[::ffff:${octets(value).join('.')}]`,
  (value) => `[::ffff:${(value >>> 16).toString(16)}:${(value & 0xff_ff).toString(16)}]`,
  (value) => `[0:0:0:0:0:FFFF:${octets(value).join('.')}]`,
  (value) => `[::${octets(value).join('.')}]`,
  (value) => `[64:ff9b::${octets(value).join('.')}]`,
  (value) => `[2002:${(value >>> 16).toString(16)}:${(value & 0xff_ff).toString(16)}::1]`,
]

describe('an address to ask', () => {
  it('is no closed one, however it is spelled', () => {
    fc.assert(
      fc.property(closedNumber, fc.constantFrom(...spellings), (value, spell) => {
        expect(why(`https://${spell(value)}/hook`)).toBe('is not a public one')
      }),
      { numRuns: 2_000 },
    )
  })

  it('is no closed IPv6 one', () => {
    const part = fc.integer({ min: 0, max: 0xff_ff }).map((value) => value.toString(16))
    const heads = ['', 'fe80', 'fec0', 'fc00', 'fd00', 'ff02', '100', '2001:db8', '2001:2', '2001:10']
    const more = ['2001:0', '3fff', '5f00', '64:ff9b:1', '4000', '8000', 'e000']
    fc.assert(
      fc.property(fc.constantFrom(...heads, ...more), part, part, (head, a, b) => {
        expect(why(`https://[${head}::${a}:${b}]/`)).toBe('is not a public one')
      }),
    )
    expect(why('https://[::1]/')).toBe('is not a public one')
    expect(why('https://[::]/')).toBe('is not a public one')
  })

  it('may be any public one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0x01_00_00_00, max: 0xdf_ff_ff_ff }), (value) => {
        const address = octets(value).join('.')
        const isClosed = closed4.some(([first, last]) => value >= numberOf(first) && value <= numberOf(last))
        const isForDns = /^192\.(?:31\.196|52\.193|175\.48)\./.test(address)
        expect(isPublicAddress(address)).toBe(!isClosed && !isForDns)
        expect(isPublicAddress(`::ffff:${address}`)).toBe(!isClosed && !isForDns)
        expect(why(`https://${address}/`) === undefined).toBe(!isClosed && !isForDns)
      }),
      { numRuns: 2_000 },
    )
    expect(isPublicAddress('2606:4700::6810:84e5')).toBe(true)
    expect(why('https://[2606:4700::6810:84e5]/hook?a=b')).toBeUndefined()
    expect(why('https://EXAMPLE.com./hook')).toBeUndefined()
    expect(isPublicAddress('example.com')).toBe(false)
    expect(isPublicAddress('')).toBe(false)
  })

  it.each([
    ['http://example.com/', 'must begin with https://'],
    ['ftp://example.com/', 'must begin with https://'],
    ['file:///etc/passwd', 'must begin with https://'],
    ['example.com/hook', 'cannot be read'],
    ['', 'cannot be read'],
    ['https://', 'cannot be read'],
    ['https://1.2.3.4.5/', 'cannot be read'],
    ['https://user@example.com/', 'must not hold a user name or a password'],
    ['https://:secret@example.com/', 'must not hold a user name or a password'],
    ['https://example.com:8443/', 'must not name a port: only 443 may be asked'],
    ['https://localhost/', 'is not a public one'],
    ['https://LOCALHOST./', 'is not a public one'],
    ['https://a.localhost/', 'is not a public one'],
    ['https://intranet/', 'is not a public one'],
    ['https://./', 'is not a public one'],
    [`https://example.com/${'a'.repeat(2_048)}`, 'exceeds 2048 characters'],
  ])('%s: %s', (address, reason) => {
    expect(why(address)).toBe(reason)
  })

  it('never makes anything throw', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.webUrl(), fc.string({ unit: 'grapheme' })), (text) => {
        const read = readDestination(text, anyPublic)
        if (read.kind === 'destination') expect(read.url.protocol).toBe('https:')
      }),
    )
  })
})

describe('a list of hosts', () => {
  const hosts = patterns('images.Example.com, *.example.org,bücher.example, cdn.example.net:8443,')
  const listed: Destinations = { hosts, trusted: [] }

  it.each([
    'https://images.example.com/fox.png',
    'https://IMAGES.EXAMPLE.COM./fox.png',
    'https://images.example.com:443/fox.png',
    'https://a.example.org/',
    'https://a.b.example.org/',
    'https://xn--bcher-kva.example/',
    'https://BÜCHER.example/',
    'https://cdn.example.net:8443/',
  ])('lets %s', (address) => {
    expect(why(address, listed)).toBeUndefined()
  })

  it.each([
    'https://example.com/',
    'https://images.example.com.evil.example/',
    'https://evilimages.example.com/',
    'https://example.org/',
    'https://evilexample.org/',
    'https://images.example.com:8443/',
    'https://cdn.example.net/',
    'https://images.example.com@evil.example.net/'.replace('images.example.com@', ''),
  ])('does not let %s', (address) => {
    expect(why(address, listed)).toBe('is not at a host that this service may ask')
  })

  it('opens nothing that is not public', () => {
    const inside: Destinations = { hosts: patterns('10.0.0.1, intranet'), trusted: [] }
    expect(why('https://10.0.0.1/', inside)).toBe('is not a public one')
    expect(why('https://intranet/', inside)).toBe('is not a public one')
  })

  it('of those that the operator answers for opens these, and no others', () => {
    const trusted = patterns('127.0.0.1:8080,[::1],*.corp.example')
    const trusting: Destinations = { hosts: 'any', trusted }
    expect(readDestination('http://127.0.0.1:8080/hook', trusting)).toMatchObject({ isTrusted: true })
    expect(why('http://2130706433:8080/hook', trusting)).toBeUndefined()
    expect(why('https://[::1]/', trusting)).toBeUndefined()
    expect(why('http://hooks.corp.example/', trusting)).toBeUndefined()
    expect(why('http://127.0.0.1:8081/hook', trusting)).toBe('must begin with https://')
    expect(why('https://127.0.0.2/hook', trusting)).toBe('is not a public one')
    expect(readDestination('https://example.com/', trusting)).toMatchObject({ isTrusted: false })
    expect(why('http://user@127.0.0.1:8080/', trusting)).toBe('must not hold a user name or a password')
  })

  it.each([
    '*',
    '*.',
    'https://a.example',
    'a.example/path',
    'a@b.example',
    '*.1.2.3.4',
    '*.[::1]',
    '.',
    'a b',
  ])('with %s is faulty', (entry) => {
    expect(readHostPatterns(`good.example, ${entry}`)).toEqual({ kind: 'faulty', entry })
  })

  it('may be empty', () => {
    expect(readHostPatterns(' , ')).toEqual({ kind: 'patterns', patterns: [] })
  })
})
