/** A request to an address that somebody else gave us. */
export type OutgoingRequest = {
  readonly url: string
  readonly method: 'GET' | 'POST'
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** For all of it: connecting, redirects, and the answer's last byte. */
  readonly timeoutMs: number
  readonly bodyBytesMax: number
  /** Of a larger body the beginning is enough. */
  readonly isBodyCut?: boolean
  /** Only a GET is redirected; at 0 an answer that redirects is an answer like any other. */
  readonly redirectsMax: number
}

export type OutgoingAnswer =
  | {
      readonly kind: 'answer'
      readonly status: number
      /** Names in lower case; of a repeated one, the first. */
      readonly headers: Readonly<Record<string, string>>
      readonly body: Uint8Array
    }
  /** The guard lets nobody ask there: asking again is of no use. A half sentence, to stand after `the address`. */
  | { readonly kind: 'refused'; readonly why: string }
  /** `timeout`, `too_large`, or the code of the connection's fault, as `ECONNREFUSED`. */
  | { readonly kind: 'failed'; readonly code: string }

/** Asks where the guard on outgoing addresses lets it. */
export type Outgoing = (request: OutgoingRequest) => Promise<OutgoingAnswer>
