import { AzureOpenAI } from 'openai'
import { apiKey, apiVersion, deploymentName, parameters, promptOf } from '../work.ts'
import { storePicture } from './outcomes.ts'

/** One call of a runner's list. */
export type Call = () => Promise<unknown>

/** One call through the `openai` package, as its users write it, whose picture is stored in the folder. */
export function pictureCall({
  endpoint,
  folder,
  ...options
}: {
  readonly endpoint: string
  readonly folder: string
  /** The package's own default is 2. */
  readonly maxRetries?: number
}): (index: number) => Promise<void> {
  const client = new AzureOpenAI({ endpoint, apiKey, apiVersion, deployment: deploymentName, ...options })
  return async (index) => {
    const prompt = promptOf(index)
    const { data } = await client.images.generate({ prompt, model: deploymentName, ...parameters })
    await storePicture(folder, index, Buffer.from(data?.[0]?.b64_json ?? '', 'base64'))
  }
}
