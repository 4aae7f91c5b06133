import { ok, strictEqual } from 'node:assert/strict'
import { imageSize } from 'image-size'
import { APIError, type OpenAI } from 'openai'

/** The error that the call ends in. Throws when it is of another class, or when the call ends well. */
export async function faultOf(
  call: PromiseLike<unknown>,
  wanted: abstract new (...parts: never[]) => APIError,
): Promise<APIError> {
  const fault = await call.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (fault === undefined) throw new Error(`wanted a ${wanted.name}, and got none`)
  if (!(fault instanceof APIError)) throw fault
  strictEqual(
    fault.constructor,
    wanted,
    `wanted a ${wanted.name}, and got ${fault.constructor.name}: ${fault.message}`,
  )
  const { status, type, requestID, error } = fault
  ok(typeof type === 'string' && type !== '', `an error ${status} without a type`)
  ok(typeof requestID === 'string' && requestID !== '', `an error ${status} without a request id`)
  ok(error.message, `an error ${status} without a message`)
  return fault
}

/** `jpeg 1024x1024`, from the bytes of each image, wherever they are. */
export async function picturesOf(
  client: OpenAI,
  images: readonly OpenAI.Image[] = [],
): Promise<readonly string[]> {
  return Promise.all(
    images.map(async ({ b64_json: base64, url }) => {
      const bytes = base64 === undefined ? await bytesAt(client, url!) : Buffer.from(base64, 'base64')
      const { type, width, height } = imageSize(bytes)
      return `${type === 'jpg' ? 'jpeg' : type} ${width}x${height}`
    }),
  )
}

/** Addresses elsewhere are signed, and must not get the key. */
async function bytesAt(client: OpenAI, url: string): Promise<Uint8Array> {
  const isOfApi = new URL(url).origin === new URL(client.baseURL).origin
  const response = await fetch(url, isOfApi ? { headers: { authorization: `Bearer ${client.apiKey}` } } : {})
  ok(response.ok, `${url} answered ${response.status}`)
  return new Uint8Array(await response.arrayBuffer())
}
