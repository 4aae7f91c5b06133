import { version } from '../../core/version.ts'
import type { Reply } from '../reply.ts'

/** GET /: what this is, for somebody who opens the address. */
export async function getHome(): Promise<Reply> {
  return {
    status: 200,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' },
    body: text,
  }
}

const text = `Darkroom ${version}: prompts to stored images, at the pace of an Azure OpenAI image deployment.

Whether it is well:  /healthz
The API:             /v1/..., with an API key; README.md of the project has all routes
`
