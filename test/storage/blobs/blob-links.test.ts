import { expect, test } from 'vitest'
import { blobLinks } from '../../../src/storage/blobs/blob-links.ts'
import { connectStorage } from '../../../src/storage/connection.ts'

const key = Buffer.from('a key of an account').toString('base64')
const now = Date.UTC(2026, 10, 23, 12)

async function linksOf(protocol: 'http' | 'https') {
  const account = `DefaultEndpointsProtocol=${protocol};AccountName=pictures;AccountKey=${key};EndpointSuffix=core.windows.net`
  const connection = await connectStorage(
    { kind: 'connection-string', connectionString: account },
    async () => {
      throw new Error('the account has a key')
    },
  )
  return blobLinks(connection, { now: () => now })
}

test('a link reads one blob, for a quarter of an hour, over HTTPS', async () => {
  const link = await linksOf('https')
  const url = new URL(
    await link!({
      container: 'files',
      blob: 'file-1',
      contentType: 'application/jsonl',
      disposition: 'attachment',
    }),
  )
  expect(url.origin + url.pathname).toBe('https://pictures.blob.core.windows.net/files/file-1')
  expect(Object.fromEntries(url.searchParams)).toMatchObject({
    sp: 'r',
    sr: 'b',
    spr: 'https',
    se: '2026-11-23T12:15:00Z',
    rsct: 'application/jsonl',
    rscd: 'attachment',
  })
  expect(url.searchParams.get('sig')).toMatch(/^.{40,}$/)
})

test('over plain HTTP a signature would lie open: there are no links', async () => {
  expect(await linksOf('http')).toBeUndefined()
})
