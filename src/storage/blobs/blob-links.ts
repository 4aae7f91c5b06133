import {
  BlobSASPermissions,
  generateBlobSASQueryParameters,
  SASProtocol,
  StorageSharedKeyCredential,
  type UserDelegationKey,
} from '@azure/storage-blob'
import type { Clock } from '../../ports/clock.ts'
import type { StorageConnection } from '../connection.ts'

/** How long a link to a blob works. */
const linkMs = 15 * 60_000

/** Clocks differ a little: a link must not begin in the future. */
const earlyMs = 5 * 60_000

type LinkedBlob = {
  readonly container: string
  readonly blob: string
  /** What the answer says of it, whatever the blob says of itself. */
  readonly contentType: string
  readonly disposition?: string | undefined
}

export type BlobLinks = (linked: LinkedBlob) => Promise<string>

/**
 * Makes links that read one blob, for a quarter of an hour and over HTTPS only: signed with the account's key, or with a
 * key of the identity. Undefined where storage can sign none.
 */
export function blobLinks(
  { blobs, signing }: StorageConnection,
  clock: Pick<Clock, 'now'>,
): BlobLinks | undefined {
  if (signing === 'none') return undefined
  let delegation: { readonly key: UserDelegationKey; readonly until: number } | undefined
  return async ({ container, blob, contentType, disposition }) => {
    const now = clock.now()
    const parameters = {
      containerName: container,
      blobName: blob,
      permissions: BlobSASPermissions.parse('r'),
      protocol: SASProtocol.Https,
      startsOn: new Date(now - earlyMs),
      expiresOn: new Date(now + linkMs),
      contentType,
      ...(disposition === undefined ? {} : { contentDisposition: disposition }),
    }
    const { url } = blobs.getContainerClient(container).getBlobClient(blob)
    if (signing === 'account-key' && blobs.credential instanceof StorageSharedKeyCredential) {
      return `${url}?${generateBlobSASQueryParameters(parameters, blobs.credential).toString()}`
    }
    if (delegation === undefined || delegation.until < now + linkMs) {
      const until = now + 4 * linkMs
      const key = await blobs.getUserDelegationKey(new Date(now - earlyMs), new Date(until))
      delegation = { key, until }
    }
    const signed = generateBlobSASQueryParameters(parameters, delegation.key, blobs.accountName)
    return `${url}?${signed.toString()}`
  }
}
